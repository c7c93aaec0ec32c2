/* SHA-256, cut off: every language has it at hand. */
#include <wire/batch.h>

#include <endian.h>
#include <nettle/sha2.h>
#include <string.h>

static void sha256(const void *data, size_t bytes, uint8_t digest[SHA256_DIGEST_SIZE])
{
    struct sha256_ctx sha;

    sha256_init(&sha);
    sha256_update(&sha, bytes, data);
    sha256_digest(&sha, SHA256_DIGEST_SIZE, digest);
}

uint64_t weir_key_hash(const void *key, size_t bytes)
{
    uint8_t digest[SHA256_DIGEST_SIZE];
    uint64_t hash;

    sha256(key, bytes, digest);
    memcpy(&hash, digest, sizeof hash);
    hash = le64toh(hash);
    /* 0 says "no key". */
    return hash != 0 ? hash : 1;
}

void weir_idem_hash(const void *key, size_t bytes, uint8_t hash[16])
{
    static const uint8_t none[16];
    uint8_t digest[SHA256_DIGEST_SIZE];

    sha256(key, bytes, digest);
    memcpy(hash, digest, 16);
    if (memcmp(hash, none, 16) == 0)
        hash[0] = 1;
}
