/* audit-symbols.c: what modules in memory say of themselves, and changes to their code. */
#include "sys.h"
#include "text.h"

#include "audit.h"

#ifdef WINNOW_DEMAND
#include "demand.h"
#endif

#define PAGE 4096ul

#define DT_NULL 0
#define DT_STRTAB 5
#define DT_SYMTAB 6
#define DT_SONAME 14
#define DT_GNU_HASH 0x6ffffef5

#define STT_FUNC 2
#define STT_GNU_IFUNC 10

struct elf_symbol {
  u32 name;
  u8 info;
  u8 other;
  u16 section;
  unsigned long value;
  unsigned long size;
};

struct gnu_hash {
  u32 buckets;
  u32 first;
  u32 bloom_words;
  u32 bloom_shift;
  unsigned long bloom[];
};

/* The value of a tag; addresses may have been relocated in place or not. */
static unsigned long dynamic_value(const struct link_map *map, unsigned long tag, int is_address) {
  if (map->dynamic == NULL) return 0;
  for (const unsigned long *at = map->dynamic; at[0] != DT_NULL; at += 2)
    if (at[0] == tag) return is_address && at[1] < map->base ? map->base + at[1] : at[1];
  return 0;
}

int audit_is_libc(const struct link_map *map) {
  unsigned long strings = dynamic_value(map, DT_STRTAB, 1), soname = dynamic_value(map, DT_SONAME, 0);
  return strings != 0 && soname != 0 && same((const char *)strings + soname, "libc.so.6");
}

struct tables {
  const struct gnu_hash *hash;
  const struct elf_symbol *symbols;
  const char *strings;
  const u32 *buckets, *chain;
};

static int find_tables(const struct link_map *map, struct tables *tables) {
  tables->hash = (const struct gnu_hash *)dynamic_value(map, DT_GNU_HASH, 1);
  tables->symbols = (const struct elf_symbol *)dynamic_value(map, DT_SYMTAB, 1);
  tables->strings = (const char *)dynamic_value(map, DT_STRTAB, 1);
  if (tables->hash == NULL || tables->symbols == NULL || tables->strings == NULL || tables->hash->buckets == 0) return 0;
  tables->buckets = (const u32 *)(tables->hash->bloom + tables->hash->bloom_words);
  tables->chain = tables->buckets + tables->hash->buckets;
  return 1;
}

int audit_find_symbol(const struct link_map *map, const char *name, struct audit_symbol *found) {
  struct tables tables;
  if (!find_tables(map, &tables)) return 0;
  u32 wanted = 5381;
  for (const char *at = name; *at; at++) wanted = wanted * 33 + (u8)*at;
  u32 index = tables.buckets[wanted % tables.hash->buckets];
  if (index < tables.hash->first) return 0;
  for (;; index++) {
    u32 value = tables.chain[index - tables.hash->first];
    const struct elf_symbol *symbol = &tables.symbols[index];
    if ((value | 1) == (wanted | 1) && symbol->section != 0 && same(tables.strings + symbol->name, name)) {
      found->name = tables.strings + symbol->name;
      found->start = map->base + symbol->value;
      found->size = symbol->size;
      return 1;
    }
    if (value & 1) return 0;
  }
}

int audit_patch(unsigned char *at, const unsigned char *bytes, unsigned long size) {
  unsigned char *page = (unsigned char *)((unsigned long)at & ~(PAGE - 1));
  unsigned long pages = (((unsigned long)at & (PAGE - 1)) + size + PAGE - 1) & ~(PAGE - 1);
  int after = PROT_READ | PROT_EXEC;
#ifdef WINNOW_DEMAND
  if (demand_covers((unsigned long)at)) after = PROT_READ;
#endif
  /* In one step: a page that stopped being executable might not be allowed to become so again. */
  if (sys_mprotect(page, pages, PROT_READ | PROT_WRITE | PROT_EXEC) < 0) return 0;
  for (unsigned long i = 0; i < size; i++) at[i] = bytes[i];
  sys_mprotect(page, pages, after);
  return 1;
}

#ifdef WINNOW_DEMAND
int audit_symbol_at(const struct link_map *map, unsigned long at, struct audit_symbol *found) {
  struct tables tables;
  if (!find_tables(map, &tables)) return 0;
  for (u32 bucket = 0; bucket < tables.hash->buckets; bucket++) {
    u32 index = tables.buckets[bucket];
    if (index < tables.hash->first) continue;
    for (;; index++) {
      const struct elf_symbol *symbol = &tables.symbols[index];
      unsigned type = symbol->info & 15;
      unsigned long start = map->base + symbol->value, size = symbol->size > 0 ? symbol->size : 1;
      if (symbol->section != 0 && (type == STT_FUNC || type == STT_GNU_IFUNC) && at >= start && at < start + size) {
        found->name = tables.strings + symbol->name;
        found->start = start;
        found->size = symbol->size;
        return 1;
      }
      if (tables.chain[index - tables.hash->first] & 1) break;
    }
  }
  return 0;
}
#endif
