"""python -m training.vision"""

from training.vision.make import main

main()
