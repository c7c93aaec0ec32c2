/* What cppcheck has to know of the list macros, in a form that it can follow. */
#define DL_FOREACH(head, el) for (el = head; el; el = el->next)
#define DL_FOREACH2(head, el, next) for (el = head; el; el = el->next)
#define DL_FOREACH_SAFE(head, el, tmp) for (el = head, tmp = head; el; el = tmp)
#define DL_FOREACH_SAFE2(head, el, tmp, next) for (el = head, tmp = head; el; el = tmp)
