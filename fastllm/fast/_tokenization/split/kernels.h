// What split/dispatch.h compiles once per instruction set.

#include "neon.h"
#include "bytes64.h"
#include "split/block_masks.h"
#include "split/pretoken_starts.h"
#include "split/hot_blocks.h"
#include "split/pair_starts.h"
#include "split/kept_bytes.h"
