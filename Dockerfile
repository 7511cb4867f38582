# What the function runs and nothing else; .dockerignore lets nothing else through.
FROM public.ecr.aws/lambda/python:3.13
WORKDIR /var/task

# Compiled bytecode stays: Lambda's file system is read-only, so each cold start would compile anew.
# It is compiled without docstrings and asserts, 1.4 MB of memory, and named as Python looks for it.
COPY requirements.txt .
RUN PYTHONOPTIMIZE=2 python -m pip install --no-cache-dir --no-deps --require-hashes \
        --root-user-action ignore --disable-pip-version-check --target . \
        --requirement requirements.txt \
    # Never loaded by inference: onnxruntime's C library (its Python module holds a copy of its own),
    # tools and quantisation; numpy's compilers; everyone's tests.
    && rm -rf requirements.txt bin \
        onnxruntime/capi/libonnxruntime.so.* \
        onnxruntime/datasets onnxruntime/quantization onnxruntime/tools onnxruntime/transformers \
        numpy/f2py numpy/_core/include numpy/_core/lib numpy/_pyinstaller \
    # Docstrings of what numpy has in C, which it hands over at each import: a twentieth of a start.
    && for docs in numpy/_core/_add_newdocs.py numpy/_core/_add_newdocs_scalars.py; do \
        : > "$docs" && PYTHONOPTIMIZE=2 python -m compileall -q -f "$docs" || exit 1; done \
    && find . -name '*.opt-2.pyc' \
        -exec sh -c 'for pyc do mv "$pyc" "${pyc%.opt-2.pyc}.pyc"; done' - {} + \
    && find . -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +

COPY lambda_function.py .
COPY serving serving
COPY model model
# A cold start loads a model that is optimised already in two thirds of the time.
RUN python -m compileall -q lambda_function.py serving \
    && python -m serving.model.optimize model/classifier.onnx

CMD ["lambda_function.lambda_handler"]
