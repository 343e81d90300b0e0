# The demo in a container: docker build -t msnet . && docker run --rm msnet
# Trainings: docker run --rm --gpus all --shm-size 8g -v "$PWD/data:/msnet/data" -v "$PWD/saved_model:/msnet/saved_model" \
#            msnet python train.py configs/polyp_msnet.py; weights that lie in weights/ when it is built are inside
FROM python:3.11-slim
# Triton builds its kernels for the GPU that it meets; without a C compiler trainings and scores are slower there
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /msnet
# before the code, which changes more often; the same commands as on the front page
COPY requirements.txt ./
RUN python3 -m venv .venv && .venv/bin/pip install --no-cache-dir -r requirements.txt
COPY . .
ENV PATH="/msnet/.venv/bin:$PATH" PYTHONUNBUFFERED=1
CMD ["python", "train.py", "configs/demo.py"]
