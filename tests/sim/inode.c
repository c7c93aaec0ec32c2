#include "inode.h"
#include <base/alloc.h>
#include <stdlib.h>
#include <string.h>

enum sector_state {
    SECTOR_CLEAN,   /* cache and disk are the same */
    SECTOR_DIRTY,   /* the next sync writes it */
    SECTOR_DROPPED, /* the cache has what the disk has not, and no sync writes it any more */
};

static void hold(struct sim_inode *inode, uint64_t bytes)
{
    if (bytes <= inode->held)
        return;
    bytes = (bytes + SIM_BLOCK_BYTES - 1) / SIM_BLOCK_BYTES * SIM_BLOCK_BYTES;
    inode->cache = weir_realloc(inode->cache, bytes, 1);
    inode->disk = weir_realloc(inode->disk, bytes, 1);
    inode->sectors = weir_realloc(inode->sectors, bytes / SIM_SECTOR_BYTES, 1);
    memset(inode->cache + inode->held, 0, bytes - inode->held);
    memset(inode->disk + inode->held, 0, bytes - inode->held);
    memset(inode->sectors + inode->held / SIM_SECTOR_BYTES, SECTOR_CLEAN,
           (bytes - inode->held) / SIM_SECTOR_BYTES);
    inode->held = bytes;
}

static void sector_write_out(struct sim_inode *inode, uint64_t sector)
{
    const uint64_t at = sector * SIM_SECTOR_BYTES;
    memcpy(inode->disk + at, inode->cache + at, SIM_SECTOR_BYTES);
    inode->sectors[sector] = SECTOR_CLEAN;
}

static void sector_forget(struct sim_inode *inode, uint64_t sector)
{
    const uint64_t at = sector * SIM_SECTOR_BYTES;
    memcpy(inode->cache + at, inode->disk + at, SIM_SECTOR_BYTES);
    inode->sectors[sector] = SECTOR_CLEAN;
}

static uint64_t sector_count(const struct sim_inode *inode)
{
    return inode->held / SIM_SECTOR_BYTES;
}

void sim_inode_write_back(struct sim_inode *inode, struct weir_random *random)
{
    for (uint64_t s = 0; s < sector_count(inode); s++)
        if (inode->sectors[s] == SECTOR_DIRTY && weir_random_below(random, 2) == 0)
            sector_write_out(inode, s);
}

void sim_inode_sync(struct sim_inode *inode)
{
    for (uint64_t s = 0; s < sector_count(inode); s++)
        if (inode->sectors[s] == SECTOR_DIRTY)
            sector_write_out(inode, s);
    inode->disk_size = inode->size;
}

void sim_inode_sync_fails(struct sim_inode *inode, struct weir_random *random)
{
    for (uint64_t s = 0; s < sector_count(inode); s++) {
        if (inode->sectors[s] != SECTOR_DIRTY)
            continue;
        if (weir_random_below(random, 2) == 0)
            sector_write_out(inode, s);
        else
            inode->sectors[s] = SECTOR_DROPPED;
    }
}

void sim_inode_power_cut(struct sim_inode *inode, struct weir_random *random)
{
    for (uint64_t s = 0; s < sector_count(inode); s++) {
        uint8_t *disk = inode->disk + s * SIM_SECTOR_BYTES;
        const uint8_t *cache = inode->cache + s * SIM_SECTOR_BYTES;
        if (inode->sectors[s] == SECTOR_DIRTY) {
            const uint64_t fate = weir_random_below(random, 8);
            if (fate < 3)
                memcpy(disk, cache, SIM_SECTOR_BYTES);
            else if (fate == 3) /* torn: the first bytes are new, the others old */
                memcpy(disk, cache, weir_random_below(random, SIM_SECTOR_BYTES));
        }
        sector_forget(inode, s);
    }
    if (inode->disk_size != inode->size && weir_random_below(random, 2) == 0)
        inode->disk_size = inode->size;
    inode->size = inode->disk_size;
    if (inode->size < inode->held)
        memset(inode->cache + inode->size, 0, inode->held - inode->size);
    if (inode->size < inode->held)
        memset(inode->disk + inode->size, 0, inode->held - inode->size);
    if (inode->allocated > inode->size)
        inode->allocated = (inode->size + SIM_BLOCK_BYTES - 1) / SIM_BLOCK_BYTES * SIM_BLOCK_BYTES;
}

void sim_inode_write(struct sim_inode *inode, const uint8_t *data, uint64_t size, uint64_t offset)
{
    if (size == 0)
        return;
    hold(inode, offset + size);
    memcpy(inode->cache + offset, data, size);
    for (uint64_t s = offset / SIM_SECTOR_BYTES; s <= (offset + size - 1) / SIM_SECTOR_BYTES; s++)
        inode->sectors[s] = SECTOR_DIRTY;
    if (offset + size > inode->size)
        inode->size = offset + size;
}

void sim_inode_forget(struct sim_inode *inode, struct weir_random *random)
{
    for (uint64_t s = 0; s < sector_count(inode); s++)
        if (inode->sectors[s] == SECTOR_DROPPED && weir_random_below(random, 2) == 0)
            sector_forget(inode, s);
}

bool sim_inode_flip(struct sim_inode *inode, uint64_t offset, uint8_t bit)
{
    if (offset >= inode->held || inode->sectors[offset / SIM_SECTOR_BYTES] != SECTOR_CLEAN)
        return false;
    inode->cache[offset] ^= (uint8_t)(1u << bit);
    inode->disk[offset] ^= (uint8_t)(1u << bit);
    return true;
}

void sim_inode_destroy(struct sim_inode *inode)
{
    free(inode->cache);
    free(inode->disk);
    free(inode->sectors);
    free(inode);
}
