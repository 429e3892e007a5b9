"""What a pass is called with: one array of integers, sizes first, then addresses.

Shapes: N rows (new tokens of all sequences), B sequences, H heads, G key-value heads,
d width of a head.
"""

(
    ROWS,
    BATCH,
    NEW,  # tokens of each sequence, N / B
    WIDTH,
    INNER,  # width of the MLP
    HEADS,
    KV_HEADS,
    HEAD_WIDTH,
    LAYERS,
    CAPACITY,  # of the cache, a multiple of LANES
    IS_GATED,  # rotary positions and a gated MLP (Llama), or neither (GPT-2)
    WEIGHT_BYTES,  # 2: bfloat16, 4: float32, split
    PRIVATE_SIZE,  # numbers of scratch per thread
    EPS,  # one float32
    X,  # (N, width) float32: in, the embedded tokens; out, the last hidden states
    QKV,  # (N, H + 2 G, d) float32, scratch
    MIXED,  # (N, H d) float32, scratch
    ACTIVE,  # (N, inner) float32, scratch
    PRIVATE,  # (threads, private size) float32, scratch
    SEQUENCE,  # (N,) int64: the sequence of each row
    POSITION,  # (N,) int64: its position
    COS,  # (N, d / 2) float32
    SIN,
    KEYS,  # (layers, B, G, d, capacity) float32
    VALUES,  # (layers, B, G, capacity, d) float32
    NORM_WEIGHT,  # the last norm
    NORM_BIAS,
    TABLE,  # (layers, 12): norm, qkv, out, norm, up, down; weight and bias (or 0) of each
    ARGUMENTS,
) = range(29)
