# The demo in a container: docker build -t msnet . && docker run --rm msnet
# Trainings: docker run --rm --gpus all --shm-size 8g -v "$PWD/data:/msnet/data" -v "$PWD/saved_model:/msnet/saved_model" \
#            msnet python train.py configs/polyp_msnet.py; weights that lie in weights/ when it is built are inside
FROM python:3.11-slim
WORKDIR /msnet
# before the code, which changes more often; the same commands as on the front page
COPY requirements.txt ./
RUN python3 -m venv .venv && .venv/bin/pip install --no-cache-dir -r requirements.txt
COPY . .
ENV PATH="/msnet/.venv/bin:$PATH" PYTHONUNBUFFERED=1
CMD ["python", "train.py", "configs/demo.py"]
