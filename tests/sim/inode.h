/* What one file of the simulated disk holds: as programs read it, and as a power cut leaves it. */
#ifndef SIM_INODE_H
#define SIM_INODE_H

#include <base/random.h>
#include <stdbool.h>
#include <stdint.h>

#define SIM_SECTOR_BYTES 512u
#define SIM_BLOCK_BYTES 4096u

struct sim_inode {
    uint64_t size, disk_size;
    uint64_t allocated; /* bytes of blocks */
    uint8_t *cache;     /* what is read … */
    uint8_t *disk;      /* … and what a power cut leaves; zeroes from `held` on */
    uint8_t *sectors;   /* enum sector_state, of each */
    uint64_t held;
    uint32_t open; /* descriptors */
    bool directory;
};

/* Into the cache. */
void sim_inode_write(struct sim_inode *inode, const uint8_t *data, uint64_t size, uint64_t offset);
/* The kernel writes dirty pages when it likes to. */
void sim_inode_write_back(struct sim_inode *inode, struct weir_random *random);
void sim_inode_sync(struct sim_inode *inode);
void sim_inode_sync_fails(struct sim_inode *inode, struct weir_random *random);
void sim_inode_power_cut(struct sim_inode *inode, struct weir_random *random);
/* The cache may forget what a sync that failed did not write. */
void sim_inode_forget(struct sim_inode *inode, struct weir_random *random);
/* Turn a bit over, in the cache and on the disk; false: that place is not synced. */
bool sim_inode_flip(struct sim_inode *inode, uint64_t offset, uint8_t bit);
void sim_inode_destroy(struct sim_inode *inode);

#endif
