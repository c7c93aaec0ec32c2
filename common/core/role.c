#include <core/roles.h>

void weir_role_step(struct weir_role *role, struct weir_event *event)
{
    role->step(role, event);
}

void weir_role_destroy(struct weir_role **self)
{
    struct weir_role *role = *self;
    *self = NULL;
    if (role)
        role->destroy(role);
}
