"""Kernels on a GPU: CuPy compiles the same text and launches it."""

import re

from ..array import array_module

OPTIONS = ("--std=c++17",)
_OWN_ARCH = re.compile(r"^//[ \t]*archs:.*\b(sm_\d+a)\b", re.MULTILINE)  # with instructions that no later one has
_WITHOUT_ASKING = 48 << 10  # bytes of dynamic shared memory that a kernel may use as it is


class Library:
    """The kernels of one text, compiled for the GPU at hand."""

    def __init__(self, text):
        self.text, self._module, self._functions, self._lists = text, None, {}, {}

    def launch(self, signature, grid, block, values, shared_mem=0, stream=None):
        first = next(x for x in values if hasattr(x, "flags") or isinstance(x, list))
        cupy = array_module(first[0] if isinstance(first, list) else first)
        function = self._functions.get(signature.name) or self._function(cupy, signature.name)
        if shared_mem > _WITHOUT_ASKING and function.max_dynamic_shared_size_bytes < shared_mem:
            function.max_dynamic_shared_size_bytes = shared_mem
        values = [self._addresses(cupy, x) if isinstance(x, list) else x for x in values]
        if stream is None:
            function(grid, block, tuple(values), shared_mem=shared_mem)
        else:
            with stream:
                function(grid, block, tuple(values), shared_mem=shared_mem)

    def _function(self, cupy, name):
        if self._module is None:
            named = _OWN_ARCH.search(self.text)
            options = (*OPTIONS, f"-arch={named[1]}") if named else OPTIONS  # sm_90a goes before CuPy's own sm_90
            self._module = cupy.RawModule(code=self.text, options=options)
        self._functions[name] = self._module.get_function(name)
        return self._functions[name]

    def _addresses(self, cupy, arrays):
        """The addresses of `arrays`, on the GPU; kept, since a list is mostly launched again and again."""
        addresses = tuple(x.data.ptr for x in arrays)
        if addresses not in self._lists:
            if len(self._lists) > 64:
                self._lists.clear()
            self._lists[addresses] = cupy.asarray(addresses, dtype="uint64")
        return self._lists[addresses]
