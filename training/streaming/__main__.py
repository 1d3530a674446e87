"""python -m training.streaming"""

from training.streaming.make import main

main()
