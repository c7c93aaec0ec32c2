/* SHA-256, cut off: every language has it at hand. */
#include <wire/batch.h>

#include <endian.h>
#include <sodium.h>
#include <string.h>

uint64_t weir_key_hash(const void *key, size_t bytes)
{
    uint8_t digest[crypto_hash_sha256_BYTES];
    uint64_t hash;

    (void)crypto_hash_sha256(digest, key, bytes);
    memcpy(&hash, digest, sizeof hash);
    hash = le64toh(hash);
    /* 0 says "no key". */
    return hash != 0 ? hash : 1;
}

void weir_idem_hash(const void *key, size_t bytes, uint8_t hash[16])
{
    static const uint8_t none[16];
    uint8_t digest[crypto_hash_sha256_BYTES];

    (void)crypto_hash_sha256(digest, key, bytes);
    memcpy(hash, digest, 16);
    if (memcmp(hash, none, 16) == 0)
        hash[0] = 1;
}
