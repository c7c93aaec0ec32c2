#include <base/canary.h>
#include <sink/ledger_sqlite.h>
#include <string.h>

int weir_ledger_init(struct weir_ledger *self, struct weir_hold_db *db, struct weir_error *error)
{
    *self = (struct weir_ledger){.db = db};
    const struct {
        sqlite3_stmt **statement;
        const char *sql;
    } all[] = {
        {&self->below, "SELECT first, last FROM ranges WHERE tag = ? AND \"group\" = ? AND"
                       " death = ? AND first <= ? ORDER BY first DESC LIMIT 1"},
        {&self->above, "SELECT first, last FROM ranges WHERE tag = ? AND \"group\" = ? AND"
                       " death = ? AND first > ? ORDER BY first LIMIT 1"},
        {&self->put, "INSERT OR REPLACE INTO ranges VALUES (?, ?, ?, ?, ?)"},
        {&self->drop, "DELETE FROM ranges WHERE tag = ? AND \"group\" = ? AND death = ? AND"
                      " first = ?"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int status = weir_database_prepare(&db->file, all[i].sql, all[i].statement, error);
        if (status != 0)
            return status;
    }
    return 0;
}

void weir_ledger_fini(struct weir_ledger *self)
{
    sqlite3_finalize(self->below);
    sqlite3_finalize(self->above);
    sqlite3_finalize(self->put);
    sqlite3_finalize(self->drop);
}

static void bind(struct weir_ledger *self, sqlite3_stmt *statement, int64_t sequence)
{
    sqlite3_bind_int64(statement, 1, self->tag);
    weir_bind_text(statement, 2, self->group, self->group_bytes);
    sqlite3_bind_int64(statement, 3, self->death);
    sqlite3_bind_int64(statement, 4, sequence);
}

/* The nearest range at or below a sequence (statement `below`), or above it. */
static int find(struct weir_ledger *self, sqlite3_stmt *statement, int64_t sequence,
                struct weir_ledger_range *range, struct weir_error *error)
{
    bind(self, statement, sequence);
    int step = sqlite3_step(statement);
    int status = 0;
    *range = (struct weir_ledger_range){.there = step == SQLITE_ROW};
    if (range->there) {
        range->first = sqlite3_column_int64(statement, 0);
        range->last = sqlite3_column_int64(statement, 1);
    } else if (step != SQLITE_DONE) {
        status = weir_database_error(&self->db->file, "looking up what was written", error);
    }
    sqlite3_reset(statement);
    return status;
}

static int store(struct weir_ledger *self, struct weir_error *error)
{
    if (!self->loaded || !self->changed)
        return 0;
    bind(self, self->put, self->range.first);
    sqlite3_bind_int64(self->put, 5, self->range.last);
    self->changed = false;
    return weir_database_run(&self->db->file, self->put, "noting what was written", error);
}

static bool touches(int64_t last, int64_t first)
{
    return last != INT64_MAX && last + 1 == first;
}

/* The range and the one above it have met: make them one. */
static int merge_next(struct weir_ledger *self, struct weir_error *error)
{
    bind(self, self->drop, self->next.first);
    int status = weir_database_run(&self->db->file, self->drop, "noting what was written", error);
    if (status != 0)
        return status;
    self->range.last = self->next.last;
    self->changed = true;
    return find(self, self->above, self->range.last, &self->next, error);
}

/* Make the range that holds the sequence, or is to hold it, the loaded one. */
static int load(struct weir_ledger *self, int64_t sequence, struct weir_error *error)
{
    int status = find(self, self->below, sequence, &self->range, error);
    if (status == 0)
        status = find(self, self->above, sequence, &self->next, error);
    self->loaded = status == 0;
    self->changed = false;
    return status;
}

static bool is_loaded(const struct weir_ledger *self, uint16_t tag,
                      const struct weir_origin *origin, int64_t sequence)
{
    return self->loaded && self->tag == tag && self->death == origin->death &&
           self->group_bytes == origin->group_bytes &&
           memcmp(self->group, origin->group, self->group_bytes) == 0 && self->range.there &&
           sequence >= self->range.first && (!self->next.there || sequence < self->next.first);
}

void weir_ledger_begin(struct weir_ledger *self)
{
    self->loaded = false;
}

int weir_ledger_note(struct weir_ledger *self, const struct weir_held_message *message, bool *fresh,
                     struct weir_error *error)
{
    const struct weir_origin *origin = &message->view.origin;
    const int64_t sequence = (int64_t)message->id.sequence;
    int status = 0;
    *fresh = true;
    if (!message->view.has_origin)
        return 0; /* the producer's number is all there is to know it by */
    if (!is_loaded(self, message->id.tag, origin, sequence)) {
        status = store(self, error);
        if (status != 0)
            return status;
        self->tag = message->id.tag;
        self->death = origin->death;
        self->group_bytes = origin->group_bytes; /* the decoder lets no longer one through */
        memcpy(self->group, origin->group, origin->group_bytes);
        status = load(self, sequence, error);
        if (status != 0)
            return status;
    }
    if (self->range.there && sequence <= self->range.last) {
        *fresh = false;
        return 0;
    }
    if (self->range.there && touches(self->range.last, sequence)) {
        self->range.last = sequence;
    } else {
        status = store(self, error);
        self->range = (struct weir_ledger_range){sequence, sequence, true};
    }
    self->changed = true;
    if (status == 0 && self->next.there && touches(sequence, self->next.first))
        status = merge_next(self, error);
    return status;
}

int weir_ledger_end(struct weir_ledger *self, struct weir_error *error)
{
    int status = WEIR_CANARY(RANGE_NOT_NOTED) ? 0 : store(self, error);
    self->loaded = false;
    return status;
}
