#define PACELINE_LEVEL paceline_avx512
#include "run.h"
