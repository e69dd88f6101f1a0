"""The variables from which clients of model providers take their keys: a table, with nothing to import.

A provider has the name here that it has in ``aquila.recording.network.model_hosts``. A project adds keys of its own
with the setting ``dummy_keys``.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from aquila.recording.environment import DUMMY_KEY

PROVIDER_KEYS: Mapping[str, tuple[str, ...]] = {
    "ai21": ("AI21_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "assemblyai": ("ASSEMBLYAI_API_KEY",),
    "azure": ("AZURE_OPENAI_API_KEY", "AZURE_API_KEY", "AZURE_AI_API_KEY", "AZURE_INFERENCE_CREDENTIAL"),
    "baseten": ("BASETEN_API_KEY",),
    "bedrock": ("AWS_BEARER_TOKEN_BEDROCK",),
    "cartesia": ("CARTESIA_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "cohere": ("CO_API_KEY", "COHERE_API_KEY"),
    "dashscope": ("DASHSCOPE_API_KEY",),
    "deepgram": ("DEEPGRAM_API_KEY",),
    "deepinfra": ("DEEPINFRA_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "elevenlabs": ("ELEVENLABS_API_KEY",),
    "fal": ("FAL_KEY",),
    "fireworks": ("FIREWORKS_API_KEY",),
    "google": ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "hyperbolic": ("HYPERBOLIC_API_KEY",),
    "inception": ("INCEPTION_API_KEY",),
    "jina": ("JINA_API_KEY",),
    "letta": ("LETTA_API_KEY",),
    "minimax": ("MINIMAX_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "moonshot": ("MOONSHOT_API_KEY",),
    "nebius": ("NEBIUS_API_KEY",),
    "novita": ("NOVITA_API_KEY",),
    "nvidia": ("NVIDIA_API_KEY",),
    "ollama-cloud": ("OLLAMA_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "perplexity": ("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
    "portkey": ("PORTKEY_API_KEY",),
    "reka": ("REKA_API_KEY",),
    "replicate": ("REPLICATE_API_TOKEN",),
    "requesty": ("REQUESTY_API_KEY",),
    "sambanova": ("SAMBANOVA_API_KEY",),
    "siliconflow": ("SILICONFLOW_API_KEY",),
    "stability": ("STABILITY_API_KEY",),
    "together": ("TOGETHER_API_KEY",),
    "upstage": ("UPSTAGE_API_KEY",),
    "vercel": ("AI_GATEWAY_API_KEY",),
    "volcengine": ("ARK_API_KEY",),
    "voyage": ("VOYAGE_API_KEY",),
    "watsonx": ("WATSONX_APIKEY", "WATSONX_API_KEY"),
    "writer": ("WRITER_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "zhipu": ("ZHIPUAI_API_KEY", "ZAI_API_KEY"),
}
"""For each provider the variables that its clients read. Their keys give access to models only."""

SHARED_KEYS: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": DUMMY_KEY,
    "AWS_SECRET_ACCESS_KEY": DUMMY_KEY,
    "CLOUDFLARE_API_TOKEN": DUMMY_KEY,
    "HF_TOKEN": f"hf_{DUMMY_KEY}",  # its client checks the prefix
    "NOMIC_API_KEY": f"nk-{DUMMY_KEY}",  # so does this one
    **dict.fromkeys(
        ("BRAVE_API_KEY", "EXA_API_KEY", "FIRECRAWL_API_KEY", "SERPAPI_API_KEY", "SERPER_API_KEY", "TAVILY_API_KEY"),
        DUMMY_KEY,
    ),
}
"""Variables whose keys give access to other things than models (buckets, data sets, searches), with their dummies.

A test without a cassette may need them, so they are replaced only while a cassette answers.
"""

REGIONS: Mapping[str, str] = {"AWS_DEFAULT_REGION": "us-east-1"}
"""Variables that a client needs besides a key, with the value for where none is set. Not secret, so never replaced."""


ONLY_WHERE_SET = ("AWS_BEARER_TOKEN_BEDROCK", "AZURE_OPENAI_API_KEY", "OLLAMA_API_KEY")
"""Replaced if the machine sets them, and unset otherwise. With the first, clients of AWS would no longer sign their
requests. If both the second and ``OPENAI_API_KEY`` are set, the module client of ``openai``
(``openai.chat.completions.create``) cannot tell which is meant, and raises an error. With the third, agno asks
Ollama's cloud instead of the Ollama of the machine."""

NO_UNSET = "-unset"
"""The word of the setting ``dummy_keys`` that leaves variables unset if the machine does not set them."""


def dummies_for_run(extra: Sequence[str]) -> dict[str, str]:
    """Return the dummies that a whole run can show, by variable.

    ``extra`` are words of the setting ``dummy_keys``: ``NAME`` adds a variable, ``NAME=value`` one with a dummy of its
    own, and ``-NAME`` leaves one out. ``without_unset`` applies the word ``-unset``.
    """
    dummies = {name: DUMMY_KEY for names in PROVIDER_KEYS.values() for name in names}
    return _apply_words(dummies, extra)


def dummies_for_answers(extra: Sequence[str]) -> dict[str, str]:
    """Return the dummies that are shown while a cassette or the local model answers: those of the run, and the shared.

    ``extra`` is that of ``dummies_for_run``.
    """
    return _apply_words({**dummies_for_run(()), **SHARED_KEYS, **REGIONS}, extra)


def without_unset(dummies: Mapping[str, str], extra: Sequence[str], variables: Container[str]) -> dict[str, str]:
    """Leave out the dummies of variables that are not among ``variables``, except those that ``extra`` adds."""
    added = _apply_words({}, extra)
    return {name: dummy for name, dummy in dummies.items() if name in variables or name in added}


def _apply_words(dummies: dict[str, str], extra: Sequence[str]) -> dict[str, str]:
    for word in extra:
        if word.startswith("-"):
            dummies.pop(word[1:], None)
        else:
            name, equals, value = word.partition("=")
            dummies[name] = value if equals else DUMMY_KEY
    return dummies


def name_dummies(dummies: Mapping[str, str]) -> dict[str, str]:
    """Return the dummies with the name of the variable in each, so that a request shows which key it needs."""
    return {name: f"{name}.{value}" if value == DUMMY_KEY else value for name, value in dummies.items()}
