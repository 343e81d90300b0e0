"""What this machine's GPU computes, beside what its CPU computes, and how fast: python -m tools.gpu_check"""
