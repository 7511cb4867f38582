# Only what the function runs; .dockerignore denies everything else.
# `--build-arg BASE_IMAGE=…@sha256:…` builds on one exact image.
ARG BASE_IMAGE=public.ecr.aws/lambda/python:3.13
FROM ${BASE_IMAGE}
WORKDIR /var/task

# Keep compiled bytecode: Lambda's file system is read-only, so each cold start would compile again.
# It is compiled without docstrings and asserts, which saves 1.4 MB of memory, and then renamed to
# the name that Python looks for.
COPY requirements.txt .
RUN PYTHONOPTIMIZE=2 python -m pip install --no-cache-dir --no-deps --require-hashes \
        --root-user-action ignore --disable-pip-version-check --target . \
        --requirement requirements.txt \
    # Inference never loads these: onnxruntime's C library (its Python module has its own copy), tools
    # and quantisation, and the packages that only those use; numpy's compilers; Pillow's fonts; all tests.
    && rm -rf requirements.txt bin google flatbuffers packaging \
        onnxruntime/capi/libonnxruntime.so.* \
        onnxruntime/datasets onnxruntime/quantization onnxruntime/tools onnxruntime/transformers \
        numpy/f2py numpy/_core/include numpy/_core/lib numpy/_pyinstaller numpy/_core/_simd.*.so \
        PIL/_imagingft.*.so pillow.libs/libfreetype-* pillow.libs/libharfbuzz-* \
    # Docstrings of numpy's C functions, which are attached at each import: 5 % of a cold start.
    && for docs in numpy/_core/_add_newdocs.py numpy/_core/_add_newdocs_scalars.py; do \
        : > "$docs" && PYTHONOPTIMIZE=2 python -m compileall -q -f "$docs" || exit 1; done \
    && find . -name '*.opt-2.pyc' \
        -exec sh -c 'for pyc do mv "$pyc" "${pyc%.opt-2.pyc}.pyc"; done' - {} + \
    && find . -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +

COPY lambda_function.py .
COPY serving serving
COPY bulk/handler.py bulk/
COPY model model
# Loading a model that is optimised already takes two thirds of the time.
RUN python -m compileall -q lambda_function.py serving bulk \
    && python -m serving.model.optimize model/classifier.onnx

# Keep the memory that a request frees for the next one. By default, glibc maps large blocks again for
# each request, and returns what is free at the heap's end: 5,800 page faults for a batch of 16 photos
# in some processes. Blocks of 4 MB and more, such as a large photo's pixels, still go back.
# See mallopt(3); local/backends.py has the same.
ENV MALLOC_MMAP_THRESHOLD_=4194304 MALLOC_TRIM_THRESHOLD_=33554432

# The function of bulk/template.yaml runs bulk.handler.lambda_handler instead.
CMD ["lambda_function.lambda_handler"]
