// What train/dispatch.h compiles once per instruction set.

#include "neon.h"
#include "split/utf8_check.h"
#include "make_key.h"
#include "train/count_words.h"
#include "train/line_starts.h"
