/*
 * recv(), recv_into(), send() and sendall() of a socket, as methods in C: the calls of a socket
 * that a program makes for each request, or for each block of a long transfer. By way of cffi they
 * cost more instructions than TCP does.
 *
 * They handle the common call: no flags, exact ints, bytes and bytearrays, and a result at once or
 * after a single wait. Anything else goes to the methods in Python (receiving.py, core.py):
 * `_ps_recv` and its like from the start, `_ps_recv_on` and its like after a call that had no
 * result.
 *
 * A separate module in the same library as _host (PyInit__transfer), in the stable ABI.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <structmember.h>

#include "api/host_api.h"

#define LARGEST_RECV INT32_MAX
/* Up to so many bytes are received on the thread's own stack. */
#define ON_STACK 4096

struct transfer {
    PyObject ob_base;
    PyObject *handle;  /* the StackHandle, which keeps `stack` alive */
    PyObject *answers; /* its own */
    ps_stack *stack;
    PyObject *open;    /* the OpenSocket */
    PyObject *timeout; /* seconds; None: none */
    long long number;
};

static PyObject *name_address, *name_answers, *name_raised, *name_receive_timeout,
    *name_send_timeout, *name_recv, *name_recv_on, *name_recv_into, *name_recv_into_on, *name_send,
    *name_send_on, *name_sendall;

/* --- its life --------------------------------------------------------------------------------- */

static PyObject *transfer_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    (void)arguments, (void)named;
    PyObject *made = PyType_GenericNew(type, NULL, NULL);
    if (made != NULL)
        ((struct transfer *)made)->number = -1;
    return made;
}

static int transfer_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct transfer *transfer = (struct transfer *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(transfer->handle);
    Py_VISIT(transfer->answers);
    Py_VISIT(transfer->open);
    Py_VISIT(transfer->timeout);
    return 0;
}

static int transfer_clear(PyObject *self)
{
    struct transfer *transfer = (struct transfer *)self;
    transfer->stack = NULL;
    Py_CLEAR(transfer->handle);
    Py_CLEAR(transfer->answers);
    Py_CLEAR(transfer->open);
    Py_CLEAR(transfer->timeout);
    return 0;
}

static void transfer_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    transfer_clear(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyObject *get_handle(PyObject *self, void *closure)
{
    (void)closure;
    PyObject *handle = ((struct transfer *)self)->handle;
    if (handle == NULL)
        PyErr_SetString(PyExc_AttributeError, "_ps_handle");
    Py_XINCREF(handle);
    return handle;
}

static int set_handle(PyObject *self, PyObject *handle, void *closure)
{
    (void)closure;
    struct transfer *transfer = (struct transfer *)self;
    if (handle == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_ps_handle can't be deleted");
        return -1;
    }
    PyObject *address = PyObject_GetAttr(handle, name_address);
    PyObject *answers = address == NULL ? NULL : PyObject_GetAttr(handle, name_answers);
    void *stack = answers == NULL ? NULL : PyLong_AsVoidPtr(address);
    Py_XDECREF(address);
    if (answers == NULL || PyErr_Occurred() != NULL) {
        Py_XDECREF(answers);
        return -1;
    }
    PyObject *was_handle = transfer->handle, *was_answers = transfer->answers;
    Py_INCREF(handle);
    transfer->handle = handle;
    transfer->answers = answers;
    transfer->stack = stack;
    Py_XDECREF(was_handle);
    Py_XDECREF(was_answers);
    return 0;
}

/* --- transfers -------------------------------------------------------------------------------- */

/* Whether a call with these flags is one of those that are made here. */
static int has_no_flags(PyObject *const *arguments, Py_ssize_t count)
{
    return count == 1 || (PyLong_CheckExact(arguments[1]) && PyLong_AsLong(arguments[1]) == 0);
}

/* timeout_us of the first call: for ever, or not at all. -2: unknown, with an exception set. */
static int first_timeout(struct transfer *transfer, PyObject *name_limit)
{
    if (transfer->timeout != Py_None)
        return 0;
    PyObject *limit = PyObject_GetAttr(transfer->open, name_limit);
    if (limit == NULL)
        return -2;
    Py_DECREF(limit);
    return limit == Py_None ? -1 : 0;
}

/* Whether a Python hypercall has raised what this call is to raise; -1: an exception. */
static int has_raised(PyObject *answers)
{
    PyObject *raised = PyObject_GetAttr(answers, name_raised);
    Py_XDECREF(raised);
    return raised == NULL ? -1 : raised != Py_None;
}

/* A call on its way. */
struct call {
    ps_stack *stack;
    PyObject *handle, *answers; /* held: another thread may give the socket others meanwhile */
    int64_t number;
    int timeout_us;
};

/* False: an exception is set. */
static bool begin(struct transfer *transfer, PyObject *name_limit, struct call *call)
{
    *call = (struct call){transfer->stack, transfer->handle, transfer->answers, transfer->number,
                          first_timeout(transfer, name_limit)};
    if (call->timeout_us < -1)
        return false;
    Py_INCREF(call->handle);
    Py_INCREF(call->answers);
    return true;
}

/* 0: the result is all there is to say; 1: a method in Python goes on; -1: an exception is set,
 * perhaps by a signal's handler. */
static int end(struct call *call, int64_t result)
{
    int raised = result < 0 ? 1 : has_raised(call->answers);
    Py_DECREF(call->answers);
    Py_DECREF(call->handle);
    return PyErr_Occurred() != NULL ? -1 : raised;
}

/* Whether a call that waits without an end was interrupted for Python to look for signals, and none
 * of their handlers has raised. A timeout that another thread sets meanwhile changes nothing. */
static int goes_on_waiting(const struct call *call, int64_t result)
{
    return result == -EINTR && call->timeout_us < 0 && PyErr_CheckSignals() == 0;
}

/* The method in Python with a result, and with the call's subject before that; of both a reference
 * is taken over. */
static PyObject *go_on(PyObject *self, PyObject *name, PyObject *subject, int64_t result)
{
    PyObject *code = subject == NULL ? NULL : PyLong_FromLongLong(result), *outcome = NULL;
    if (code != NULL)
        outcome = PyObject_CallMethodObjArgs(self, name, subject, code, NULL);
    Py_XDECREF(subject);
    Py_XDECREF(code);
    return outcome;
}

static PyObject *in_python(PyObject *self, PyObject *name, PyObject *const *arguments,
                           Py_ssize_t count)
{
    PyErr_Clear(); /* what didn't fit into a word: the method says so */
    return PyObject_CallMethodObjArgs(self, name, arguments[0], count > 1 ? arguments[1] : NULL,
                                      NULL);
}

static int counts(const char *name, Py_ssize_t count)
{
    if (count == 1 || count == 2)
        return 1;
    PyErr_Format(PyExc_TypeError, "%s() takes 1 or 2 arguments (%zd given)", name, count);
    return 0;
}

static int is_ready(const struct transfer *transfer)
{
    return transfer->stack != NULL && transfer->open != NULL && transfer->timeout != NULL;
}

PyDoc_STRVAR(
    recv_doc,
    "recv($self, size, flags=0, /)\n--\n\n"
    "Up to `size` bytes, or one datagram's: see recv(2). b\"\" is the stream's end.\n\n"
    "A size of 0 asks nothing of the Stack, as CPython asks nothing of the kernel then: no error\n"
    "is told and no datagram taken. The same holds for `recv_into` an empty buffer.");

static PyObject *transfer_recv(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    struct transfer *transfer = (struct transfer *)self;
    struct call call;
    if (!counts("recv", count))
        return NULL;
    Py_ssize_t size = PyLong_CheckExact(arguments[0]) ? PyLong_AsSsize_t(arguments[0]) : 0;
    if (size <= 0 || size > LARGEST_RECV || !has_no_flags(arguments, count) || !is_ready(transfer))
        return in_python(self, name_recv, arguments, count);
    uint8_t small[ON_STACK], *large = size > ON_STACK ? malloc((size_t)size) : NULL;
    if (large == NULL && size > ON_STACK)
        return PyErr_NoMemory();
    if (!begin(transfer, name_receive_timeout, &call)) {
        free(large);
        return NULL;
    }
    uint8_t *into = large == NULL ? small : large;
    int64_t got;
    do {
        Py_BEGIN_ALLOW_THREADS;
        got = ps_receive_plain(call.stack, call.number, into, (size_t)size, call.timeout_us);
        Py_END_ALLOW_THREADS;
    } while (goes_on_waiting(&call, got));
    int goes_on = end(&call, got);
    PyObject *data =
        goes_on >= 0 && got >= 0 ? PyBytes_FromStringAndSize((char *)into, (Py_ssize_t)got) : NULL;
    free(large);
    if (goes_on <= 0 || (data == NULL && got >= 0))
        return data;
    PyObject *subject = data;
    if (data == NULL) {
        subject = arguments[0];
        Py_INCREF(subject);
    }
    return go_on(self, name_recv_on, subject, got);
}

PyDoc_STRVAR(recv_into_doc,
             "recv_into($self, buffer, nbytes=0, flags=0)\n--\n\n"
             "As `recv` into a writable buffer: at most `nbytes`, or all of it. How many bytes.");

static PyObject *recv_into_in_python(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                                     PyObject *names)
{
    Py_ssize_t named = names == NULL ? 0 : PyTuple_Size(names);
    PyObject *method = PyObject_GetAttr(self, name_recv_into), *got = NULL;
    PyObject *unnamed = PyTuple_New(count), *others = PyDict_New();
    int error = method == NULL || unnamed == NULL || others == NULL;
    for (Py_ssize_t i = 0; i < count && !error; i++) {
        Py_INCREF(arguments[i]);
        error = PyTuple_SetItem(unnamed, i, arguments[i]) < 0;
    }
    for (Py_ssize_t i = 0; i < named && !error; i++)
        error = PyDict_SetItem(others, PyTuple_GetItem(names, i), arguments[count + i]) < 0;
    if (!error)
        got = PyObject_Call(method, unnamed, others);
    Py_XDECREF(method);
    Py_XDECREF(unnamed);
    Py_XDECREF(others);
    return got;
}

static PyObject *transfer_recv_into(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                                    PyObject *names)
{
    struct transfer *transfer = (struct transfer *)self;
    struct call call;
    bool is_common = names == NULL && count == 1 && PyByteArray_CheckExact(arguments[0]);
    if (!is_common || PyByteArray_Size(arguments[0]) == 0 || !is_ready(transfer))
        return recv_into_in_python(self, arguments, count, names);
    PyObject *buffer = arguments[0];
    PyObject *view = PyMemoryView_FromObject(buffer); /* while there is one it keeps its size */
    if (view == NULL)
        return NULL;
    if (!begin(transfer, name_receive_timeout, &call)) {
        Py_DECREF(view);
        return NULL;
    }
    uint8_t *into = (uint8_t *)PyByteArray_AsString(buffer);
    size_t size = (size_t)PyByteArray_Size(buffer);
    int64_t got;
    do {
        Py_BEGIN_ALLOW_THREADS;
        got = ps_receive_plain(call.stack, call.number, into, size, call.timeout_us);
        Py_END_ALLOW_THREADS;
    } while (goes_on_waiting(&call, got));
    int goes_on = end(&call, got);
    PyObject *outcome = NULL;
    if (goes_on == 0) {
        outcome = PyLong_FromLongLong(got);
    } else if (goes_on > 0) {
        Py_INCREF(buffer);
        outcome = go_on(self, name_recv_into_on, buffer, got);
    }
    Py_DECREF(view);
    return outcome;
}

PyDoc_STRVAR(send_doc,
             "send($self, data, flags=0, /)\n--\n\n"
             "Sends some of `data`, which is copied: see send(2). Returns how many bytes.");

static PyObject *transfer_send(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    struct transfer *transfer = (struct transfer *)self;
    struct call call;
    if (!counts("send", count))
        return NULL;
    PyObject *data = arguments[0];
    Py_ssize_t size = PyBytes_CheckExact(data) ? PyBytes_Size(data) : 0;
    if (size <= 0 || !has_no_flags(arguments, count) || !is_ready(transfer))
        return in_python(self, name_send, arguments, count);
    if (!begin(transfer, name_send_timeout, &call))
        return NULL;
    const uint8_t *from = (const uint8_t *)PyBytes_AsString(data);
    int64_t sent;
    Py_INCREF(data);
    do {
        Py_BEGIN_ALLOW_THREADS;
        sent = ps_send_plain(call.stack, call.number, from, (size_t)size, NULL, call.timeout_us);
        Py_END_ALLOW_THREADS;
    } while (goes_on_waiting(&call, sent));
    int goes_on = end(&call, sent);
    if (goes_on > 0)
        return go_on(self, name_send_on, data, sent);
    Py_DECREF(data);
    return goes_on < 0 ? NULL : PyLong_FromLongLong(sent);
}

PyDoc_STRVAR(
    sendall_doc,
    "sendall($self, data, flags=0, /)\n--\n\n"
    "Sends all of `data`, which is copied; after an error it is unknown how much was sent.\n"
    "\n"
    "Raises:\n"
    "    TimeoutError: The timeout holds for the whole of it.");

static PyObject *transfer_sendall(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    struct transfer *transfer = (struct transfer *)self;
    struct call call;
    if (!counts("sendall", count))
        return NULL;
    PyObject *data = arguments[0], *outcome = NULL;
    Py_ssize_t size = PyBytes_CheckExact(data) ? PyBytes_Size(data) : 0;
    if (size <= 0 || !has_no_flags(arguments, count) || !is_ready(transfer))
        return in_python(self, name_sendall, arguments, count);
    if (!begin(transfer, name_send_timeout, &call))
        return NULL;
    const uint8_t *from = (const uint8_t *)PyBytes_AsString(data);
    size_t done = 0, part;
    int result;
    Py_INCREF(data);
    do {
        Py_BEGIN_ALLOW_THREADS;
        result = ps_send_all(call.stack, call.number, from + done, (size_t)size - done, 0,
                             call.timeout_us, &part);
        Py_END_ALLOW_THREADS;
        done += part;
    } while (goes_on_waiting(&call, result));
    int goes_on = end(&call, result);
    if (goes_on == 0) {
        Py_INCREF(Py_None);
        outcome = Py_None;
    } else if (goes_on > 0) {
        outcome =
            PyObject_CallMethod(self, "_ps_sendall_on", "Oin", data, result, (Py_ssize_t)done);
    }
    Py_DECREF(data);
    return outcome;
}

/* --- the module ------------------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    {"recv", (PyCFunction)(void (*)(void))transfer_recv, METH_FASTCALL, recv_doc},
    {"recv_into", (PyCFunction)(void (*)(void))transfer_recv_into, METH_FASTCALL | METH_KEYWORDS,
     recv_into_doc},
    {"send", (PyCFunction)(void (*)(void))transfer_send, METH_FASTCALL, send_doc},
    {"sendall", (PyCFunction)(void (*)(void))transfer_sendall, METH_FASTCALL, sendall_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"_ps_open", T_OBJECT_EX, offsetof(struct transfer, open), 0, NULL},
    {"_ps_timeout", T_OBJECT_EX, offsetof(struct transfer, timeout), 0, NULL},
    {"_ps_number", T_LONGLONG, offsetof(struct transfer, number), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef getset[] = {
    {"_ps_handle", get_handle, set_handle, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(type_doc, "What of a socket is written in C; pystack.sockets completes it.");

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)type_doc},
    {Py_tp_new, transfer_new},
    {Py_tp_dealloc, transfer_dealloc},
    {Py_tp_traverse, transfer_traverse},
    {Py_tp_clear, transfer_clear},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_getset, getset},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "pystack._native._transfer.Transfer",
    .basicsize = sizeof(struct transfer),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

static int has_names(void)
{
    static const struct {
        PyObject **name;
        const char *text;
    } all[] = {
        {&name_address, "address"},
        {&name_answers, "answers"},
        {&name_raised, "raised"},
        {&name_receive_timeout, "receive_timeout"},
        {&name_send_timeout, "send_timeout"},
        {&name_recv, "_ps_recv"},
        {&name_recv_on, "_ps_recv_on"},
        {&name_recv_into, "_ps_recv_into"},
        {&name_recv_into_on, "_ps_recv_into_on"},
        {&name_send, "_ps_send"},
        {&name_send_on, "_ps_send_on"},
        {&name_sendall, "_ps_sendall"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (*all[i].name == NULL &&
            (*all[i].name = PyUnicode_InternFromString(all[i].text)) == NULL)
            return 0;
    return 1;
}

static int execute(PyObject *module)
{
    PyObject *type = has_names() ? PyType_FromSpec(&spec) : NULL;
    if (type == NULL)
        return -1;
    if (PyModule_AddObject(module, "Transfer", type) == 0)
        return 0;
    Py_DECREF(type);
    return -1;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, execute},
    {0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pystack._native._transfer",
    .m_doc = "recv, recv_into, send and sendall in C.",
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__transfer(void);

PyMODINIT_FUNC PyInit__transfer(void)
{
    return PyModuleDef_Init(&module);
}
