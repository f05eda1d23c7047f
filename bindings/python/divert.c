/*
 * Functions of Python's C library, answered by others for the threads of a World: what a program
 * took from `time` or `datetime` before, as a default argument or by `from`, is the same object.
 *
 * A built-in function calls what its PyMethodDef points to, and so does each method that was bound
 * from it; one of ours is put there. It asks the replacement in a thread that takes part in a
 * World, and calls the original in any other, and where the replacement returns NotImplemented.
 *
 * A separate module in the same library as _host (PyInit__divert), in the stable ABI, to which the
 * place of a built-in function's PyMethodDef does not belong: it is compared before it is used.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#include "api/host_api.h"

#define CONVENTIONS (METH_VARARGS | METH_KEYWORDS | METH_NOARGS | METH_O | METH_FASTCALL)

/* Any C function; how it is called, the flags say. */
typedef void (*function)(void);
typedef PyObject *(*with_array)(PyObject *, PyObject *const *, Py_ssize_t);
typedef PyObject *(*with_array_and_names)(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);

/* The head of a PyCFunctionObject. */
struct builtin {
    PyObject ob_base;
    PyMethodDef *method;
};

/* One that was diverted once; it keeps its place for good. */
struct diversion {
    PyMethodDef *method;
    PyObject *replacement; /* NULL: the original's turn again */
    PyInterpreterState *interpreter;
    function original;
};

/* --- calls ------------------------------------------------------------------------------------ */

static int is_asked(const struct diversion *diversion)
{
    return diversion->replacement != NULL && ps_turn_in_any() &&
           diversion->interpreter == PyInterpreterState_Get();
}

/* The replacement's answer, or NotImplemented. Takes `arguments` over, which may be NULL: an error.
 */
static PyObject *ask(const struct diversion *diversion, PyObject *arguments, PyObject *named)
{
    if (arguments == NULL)
        return NULL;
    PyObject *replacement = diversion->replacement;
    Py_INCREF(replacement);
    PyObject *answer = PyObject_Call(replacement, arguments, named);
    Py_DECREF(replacement);
    Py_DECREF(arguments);
    return answer;
}

static int is_answer(PyObject *answer)
{
    if (answer != Py_NotImplemented)
        return 1;
    Py_DECREF(answer);
    return 0;
}

/* A tuple: the class, of a class method; and the arguments. */
static PyObject *as_tuple(const struct diversion *diversion, PyObject *self, PyObject *const *array,
                          Py_ssize_t count)
{
    Py_ssize_t first = (diversion->method->ml_flags & METH_CLASS) != 0;
    PyObject *made = PyTuple_New(first + count);
    for (Py_ssize_t i = 0; made != NULL && i < first + count; i++) {
        PyObject *item = i < first ? self : array[i - first];
        Py_INCREF(item);
        if (PyTuple_SetItem(made, i, item) < 0)
            Py_CLEAR(made);
    }
    return made;
}

/* `argument` is NULL where the function has none. */
static PyObject *call_one(const struct diversion *diversion, PyObject *self, PyObject *argument)
{
    if (is_asked(diversion)) {
        PyObject *arguments = as_tuple(diversion, self, &argument, argument != NULL);
        PyObject *answer = ask(diversion, arguments, NULL);
        if (is_answer(answer))
            return answer;
    }
    return ((PyCFunction)diversion->original)(self, argument);
}

static PyObject *call_tuple(const struct diversion *diversion, PyObject *self, PyObject *tuple,
                            PyObject *named)
{
    int flags = diversion->method->ml_flags;
    if (is_asked(diversion)) {
        PyObject *first = as_tuple(diversion, self, NULL, 0);
        PyObject *arguments = first == NULL ? NULL : PySequence_Concat(first, tuple);
        Py_XDECREF(first);
        PyObject *answer = ask(diversion, arguments, named);
        if (is_answer(answer))
            return answer;
    }
    if (flags & METH_KEYWORDS)
        return ((PyCFunctionWithKeywords)diversion->original)(self, tuple, named);
    return ((PyCFunction)diversion->original)(self, tuple);
}

/* The last of the array's items, by their names. */
static PyObject *as_dict(PyObject *names, PyObject *const *array)
{
    PyObject *made = PyDict_New();
    Py_ssize_t count = PyTuple_Size(names);
    for (Py_ssize_t i = 0; made != NULL && i < count; i++)
        if (PyDict_SetItem(made, PyTuple_GetItem(names, i), array[i]) < 0)
            Py_CLEAR(made);
    return made;
}

static PyObject *call_array(const struct diversion *diversion, PyObject *self,
                            PyObject *const *array, Py_ssize_t count, PyObject *names)
{
    int flags = diversion->method->ml_flags;
    if (is_asked(diversion)) {
        PyObject *named = names == NULL ? NULL : as_dict(names, array + count);
        if (names != NULL && named == NULL)
            return NULL;
        PyObject *answer = ask(diversion, as_tuple(diversion, self, array, count), named);
        Py_XDECREF(named);
        if (is_answer(answer))
            return answer;
    }
    if (flags & METH_KEYWORDS)
        return ((with_array_and_names)diversion->original)(self, array, count, names);
    return ((with_array)diversion->original)(self, array, count);
}

/* --- what is put in an original's place ------------------------------------------------------- */

/* C functions have no closures: as many of each kind as there may be diversions. */
#define LOW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define HIGH(X) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23)
#define EACH(X) LOW(X) HIGH(X)
#define MOST 24

static struct diversion diversions[MOST];

#define DEFINE(n) \
    static PyObject *one_##n(PyObject *self, PyObject *argument) \
    { \
        return call_one(&diversions[n], self, argument); \
    } \
    static PyObject *tuple_##n(PyObject *self, PyObject *tuple) \
    { \
        return call_tuple(&diversions[n], self, tuple, NULL); \
    } \
    static PyObject *tuple_named_##n(PyObject *self, PyObject *tuple, PyObject *named) \
    { \
        return call_tuple(&diversions[n], self, tuple, named); \
    } \
    static PyObject *array_##n(PyObject *self, PyObject *const *array, Py_ssize_t count) \
    { \
        return call_array(&diversions[n], self, array, count, NULL); \
    } \
    static PyObject *array_named_##n(PyObject *self, PyObject *const *array, Py_ssize_t count, \
                                     PyObject *names) \
    { \
        return call_array(&diversions[n], self, array, count, names); \
    }
EACH(DEFINE)

/* By convention, and diversion. */
enum { ONE, TUPLE, TUPLE_NAMED, ARRAY, ARRAY_NAMED, KINDS };
#define ROW(n) \
    {(function)one_##n, (function)tuple_##n, (function)tuple_named_##n, (function)array_##n, \
     (function)array_named_##n},
static const function ours[MOST][KINDS] = {EACH(ROW)};

/* -1: nothing that can be diverted. */
static int kind_of(int flags)
{
    switch (flags & CONVENTIONS) {
    case METH_NOARGS:
    case METH_O:
        return ONE;
    case METH_VARARGS:
        return TUPLE;
    case METH_VARARGS | METH_KEYWORDS:
        return TUPLE_NAMED;
    case METH_FASTCALL:
        return ARRAY;
    case METH_FASTCALL | METH_KEYWORDS:
        return ARRAY_NAMED;
    default:
        return -1;
    }
}

/* --- Python's --------------------------------------------------------------------------------- */

static PyMethodDef *method_of(PyObject *builtin)
{
    if (!PyCFunction_CheckExact(builtin)) {
        PyErr_Format(PyExc_TypeError,
                     "%R stands where a function of Python's own is to be: import pystack.world "
                     "before what replaces it",
                     builtin);
        return NULL;
    }
    PyMethodDef *method = ((struct builtin *)builtin)->method;
    if (method->ml_meth != PyCFunction_GetFunction(builtin) ||
        (method->ml_flags & ~METH_STATIC) != (PyCFunction_GetFlags(builtin) & ~METH_STATIC) ||
        kind_of(method->ml_flags) < 0) {
        PyErr_Format(PyExc_NotImplementedError, "this Python's %R can't be diverted", builtin);
        return NULL;
    }
    return method;
}

/* A method's own diversion, or a free one; NULL: there is none. */
static struct diversion *find(const PyMethodDef *method)
{
    for (size_t i = 0; i < MOST; i++)
        if (diversions[i].method == method || diversions[i].method == NULL)
            return &diversions[i];
    PyErr_SetString(PyExc_RuntimeError, "no more functions can be diverted");
    return NULL;
}

PyDoc_STRVAR(divert_doc,
             "divert($module, function, replacement, /)\n--\n\n"
             "Has a replacement answer a built-in function in threads of a World.\n\n"
             "None: the function itself, as before. A class method's replacement gets the class\n"
             "first. Where it returns NotImplemented, the function itself answers.");

static PyObject *divert(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    (void)module;
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "divert() takes 2 arguments, not %zd", count);
        return NULL;
    }
    PyMethodDef *method = method_of(arguments[0]);
    struct diversion *diversion = method == NULL ? NULL : find(method);
    if (diversion == NULL)
        return NULL;
    PyObject *was = diversion->replacement;
    PyCFunction own = (PyCFunction)ours[diversion - diversions][kind_of(method->ml_flags)];
    if (arguments[1] != Py_None) {
        if (diversion->method == NULL || method->ml_meth != own)
            diversion->original = (function)method->ml_meth;
        diversion->method = method;
        diversion->interpreter = PyInterpreterState_Get();
        Py_INCREF(arguments[1]);
        diversion->replacement = arguments[1];
        method->ml_meth = own;
    } else if (diversion->method != NULL) {
        diversion->replacement = NULL;
        if (method->ml_meth == own) /* and nobody has put another on top of it */
            method->ml_meth = (PyCFunction)diversion->original;
    }
    Py_XDECREF(was);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"divert", (PyCFunction)(function)divert, METH_FASTCALL, divert_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pystack._native._divert",
    .m_doc = "Built-in functions that others answer in a World.",
    .m_methods = functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__divert(void);

PyMODINIT_FUNC PyInit__divert(void)
{
    return PyModuleDef_Init(&module);
}
