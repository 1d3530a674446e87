#define PACELINE_LEVEL paceline_avx2
#include "run.h"
