"""python -m training.language"""

from training.language.make import main

main()
