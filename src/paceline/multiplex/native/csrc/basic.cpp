#define PACELINE_LEVEL paceline_basic
#include "run.h"
