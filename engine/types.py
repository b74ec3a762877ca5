"""The values that pass between the engine and its client: frozen and msgspec-serialisable."""

from __future__ import annotations

import enum

import msgspec


class Priority(enum.IntEnum):
    """Lower goes first. A probe may exceed the batch limit by one, so that health never waits for a slot."""

    probe = 0
    interactive = 1
    background = 2


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """How one request decodes. Every field holds for this request alone, in any batch.

    temperature: in [0, 100], 0 is greedy; it scales the logits before top_k, top_p and min_p cut them.
    top_p: in (0, 1].
    top_k: 0 is off, values above the vocabulary are refused.
    min_p: in [0, 1].
    seed: any 64-bit integer; None draws a fresh one.
    logit_bias: token id -> added logit in [-100, 100].
    presence_penalty, frequency_penalty: in [-2, 2], over the completion.
    repetition_penalty: in (0, 10], 1 is off, over prompt and completion.
    ignore_eos: end tokens do not end the text (and are not shown in it).
    stop_repetition: a text that repeats itself word for word is ended (engine.repetition), unless ignore_eos
        asks for all of its tokens.
    expected_tokens: about how many the text should take, where that is known; a repetition is then found
        sooner. It limits nothing.
    logprobs: None is off, else how many of the likeliest tokens to report beside each chosen one, at most 20.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    logit_bias: dict[int, float] = {}
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    ignore_eos: bool = False
    stop_repetition: bool = False
    expected_tokens: int | None = None
    logprobs: int | None = None


class ThinkingLimit(msgspec.Struct, frozen=True):
    """For a completion that begins inside the model's reasoning: if `budget` tokens have not closed it,
    `close` (the token ids that do) is written in the model's place.
    """

    budget: int
    close: tuple[int, ...]


class GenerateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt and how to decode it.

    id: comes back in every event.
    prompt: token ids of the served model.
    session: requests of one session share their turn in the queue with those of the others; "" is a session
        of its own. Among equal priorities the engine is fair between sessions.
    grammar: the whole completion matches this Lark text as llguidance reads it (see engine.constraints).
    deadline_s: seconds from submission, above 0; after them the request fails, wherever it is.
    ephemeral: what it computes is not kept for later requests.
    prefill_only: it computes the prompt but for its last token, and ends without one; a later request with
        the same beginning takes over what it has done, and it ends at once.
    announce: its first event is a Began, as soon as it has its place.
    keep_s: seconds after its turn for which its session counts as active at least, an hour at most.
    marks: positions in the prompt (numbers of tokens) at which later prompts may differ, such as the end of
        the system prompt; models whose state cannot be cut keep one there.
    """

    id: str
    prompt: tuple[int, ...]
    sampling: SamplingParams
    session: str = ""
    priority: Priority = Priority.interactive
    grammar: str | None = None
    deadline_s: float | None = None
    thinking: ThinkingLimit | None = None
    ephemeral: bool = False
    prefill_only: bool = False
    announce: bool = False
    keep_s: float = 0.0
    marks: tuple[int, ...] = ()


class FinishReason(enum.StrEnum):
    stop = "stop"  # an end token, or its client needs no more
    length = "length"  # max_tokens or the context limit
    repetition = "repetition"  # the text repeated itself word for word


class Candidate(msgspec.Struct, frozen=True):
    """A token that was or could have been chosen. raw: its own bytes, possibly part of a character."""

    token: int
    raw: bytes
    logprob: float


class TokenLogprob(msgspec.Struct, frozen=True):
    """Log probabilities of one place: natural; after penalties and bias, before temperature; -9999 at least.

    top: the likeliest tokens there, best first, as many as were asked for.
    """

    chosen: Candidate
    top: tuple[Candidate, ...]


class Began(msgspec.Struct, frozen=True, tag="began"):
    """A request that is to be announced has its place. cached_tokens: of its prompt, which are not computed
    again; its Finished says the same, unless another engine process had to start it anew.
    """

    id: str
    cached_tokens: int


class TextChunk(msgspec.Struct, frozen=True, tag="text"):
    """Newly decoded text (never half a character) and its token count.

    logprobs: one for each of those tokens where they were asked for, end tokens left out.
    """

    id: str
    text: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()


class CacheReport(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a prompt came from the cache, and why no more.

    tier: ram, disk or none.
    cause: none (all that could be was reused), cold, fingerprint (another model kept it), evicted, ram (the
        conversation is larger than the cache's RAM, and the disk has not got it), late (the disk was too
        slow), boundary (the model's state cannot be cut there) or foreign-edit (the prompt differs from the
        session's last turn).
    at: the first token that is new.
    was, now: for an edited prompt, the text around that token in the last turn and in this one.
    """

    tier: str = "none"
    reused: int = 0
    total: int = 0
    cause: str = "cold"
    at: int = 0
    was: str = ""
    now: str = ""


class Finished(msgspec.Struct, frozen=True, tag="finished", kw_only=True):
    """The last event of a request.

    prompt_tokens: of the prompt.
    cached_tokens: those of the prompt that were not prefilled.
    completion_tokens: every sampled token, the end token included.
    queue_s, prefill_s, decode_s: seconds of waiting for a place, from there to the first token, and from that
        to the last.
    unconstrained: the grammar failed on the way, and the rest was decoded without it.
    completion: every sampled token.
    """

    id: str
    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    queue_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    unconstrained: bool = False
    completion: tuple[int, ...] = ()
    cache: CacheReport = CacheReport()


class Failed(msgspec.Struct, frozen=True, tag="failed", kw_only=True):
    """The last event of a request that the engine could not serve. code: one of engine.errors."""

    id: str
    code: str
    message: str
    detail: dict[str, str | int | float] = {}


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine process says of the model that it loaded.

    fingerprint: hex digest of config, tokenizer, template and weights; equal only for equal models.
    context_length: tokens of prompt and completion together.
    parameters: weights, as stored (quantised ones count unpacked).
    dtype: the type it computes in.
    device: cpu or gpu.
    blas: a description of the matrix library in use.
    kv_tokens: tokens of KV cache that fit into memory, all sequences together.
    cache_ram: bytes of RAM for the prefix cache.
    sliceable: kept prefixes can be continued from any token.
    """

    path: str
    model_type: str
    vocab_size: int
    context_length: int
    eos_token_ids: tuple[int, ...]
    parameters: int
    blas: str
    dtype: str = ""
    device: str = ""
    kv_tokens: int = 2**62
    fingerprint: str = ""
    cache_ram: int = 0
    sliceable: bool = True


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """The prefix cache. Counters count since this engine process started.

    ram_bytes, ram_budget, disk_bytes, disk_limit: bytes in use, and how many may be.
    segments, stored: how many are known, and how many of them are on disk.
    from_ram, from_disk, from_nothing: requests by where their prefix came from.
    late: requests that stopped waiting for the disk.
    followed: requests that waited for another's prompt instead of computing the same.
    reused_tokens, prompt_tokens: tokens that were reused, of so many.
    evicted, evicted_disk: segments.
    written: segments written to disk.
    damaged: entries on disk that were not what had been written.
    refused: segments that found no room.
    readonly: why nothing is written to disk; "" where it is.
    outages: times that writing stopped.
    foreign: conversations on disk that other models left.
    """

    ram_bytes: int = 0
    ram_budget: int = 0
    disk_bytes: int = 0
    disk_limit: int = 0
    segments: int = 0
    stored: int = 0
    sessions: int = 0
    from_ram: int = 0
    from_disk: int = 0
    from_nothing: int = 0
    late: int = 0
    followed: int = 0
    reused_tokens: int = 0
    prompt_tokens: int = 0
    evicted: int = 0
    evicted_disk: int = 0
    written: int = 0
    damaged: int = 0
    refused: int = 0
    readonly: str = ""
    outages: int = 0
    foreign: int = 0


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One agent session as the cache knows it.

    idle_s: seconds since its last turn.
    tokens: of all its branches.
    ram_bytes: bytes of them in RAM.
    cause: of its last turn (see CacheReport).
    """

    id: str
    turns: int
    branches: int
    tokens: int
    prompt_tokens: int
    reused_tokens: int
    ram_bytes: int
    tier: str
    cause: str
    idle_s: float
    pinned: bool


AT_REST = ("resting", "waking")  # states of an engine whose process ended for want of requests
BATCH_BOUNDS = (1, 2, 4, 8, 16, 32, 64)


class WorkerStats(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine process reports of itself. Counters from `tokens_generated` on count since it started.

    running: requests with a place in the batch (prefilling or decoding).
    prompt_tokens: of finished prefills.
    prefilled_tokens: positions computed for prompts so far.
    batch_size, peak_batch: sequences decoded in the last step, and the most ever.
    batch_sizes: decode steps by batch size, one count for each of BATCH_BOUNDS and one for larger ones.
    faults: steps that raised.
    constraint_failures: grammars that failed during a generation.
    expired: requests that ran out of time.
    cache_bytes: KV held by live requests.
    memory_bytes: all arrays of MLX.
    rss_bytes: the process's resident memory.
    """

    running: int = 0
    waiting: int = 0
    tokens_generated: int = 0
    prompt_tokens: int = 0
    prefilled_tokens: int = 0
    steps: int = 0
    batch_size: int = 0
    peak_batch: int = 0
    batch_sizes: tuple[int, ...] = ()
    faults: int = 0
    constraint_failures: int = 0
    expired: int = 0
    cache_bytes: int = 0
    memory_bytes: int = 0
    rss_bytes: int = 0
    cache: CacheStats = CacheStats()


class EngineStats(WorkerStats, frozen=True, kw_only=True):
    """A snapshot: the state of the engine as its client sees it, and the last report of its process."""

    state: str  # starting | ready | restarting | resting | waking | failed | closed
    reason: str
    pid: int
    restarts: int


Output = Began | TextChunk | Finished
