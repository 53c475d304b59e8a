// What encode/dispatch.h compiles once per instruction set.

#include "encode/utf8_write.h"
#include "encode/merge_piece.h"
#include "encode/merge_long.h"
#include "encode/encode_pieces.h"
