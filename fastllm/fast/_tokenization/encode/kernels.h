// What encode/dispatch.h compiles once per instruction set.

#include "neon.h"
#include "bytes64.h"
#include "make_key.h"
#include "encode/character_places.h"
#include "encode/write_utf8.h"
#include "normalize/bert_words.h"
#include "normalize/plain_runs.h"
#include "normalize/space_words.h"
#include "encode/merge_by_scan.h"
#include "encode/merge_by_tree.h"
#include "encode/encode_pretokens.h"
