"""How good a stream was: judged by where objects are when its boxes are shown."""
