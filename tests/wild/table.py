"""The table of clients: what each is called, where it sends its requests, and which file of `clients` uses it.

A row is all there is to a client. Its application, a module of ``tests/wild/clients``, is written as its users write
theirs, with the client's own retries and the provider's real host. It has a function for each way that the client has:
``ask``, ``ask_async``, ``stream``, ``stream_async``, ``tools`` and ``tools_async``, each of which takes a prompt.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.wild.protocols.conversation import TEXT

WAYS = ("ask", "ask_async", "stream", "stream_async", "tools", "tools_async")

APPLICATIONS = Path(__file__).parent / "clients"


@dataclass(frozen=True, slots=True)
class Client:
    """One client.

    Attributes:
        name: What the documentation calls it.
        application: The module of ``tests/wild/clients`` that uses it.
        distributions: The packages whose versions are told, the client's own first.
        hosts: Where it sends requests, by the provider's real names.
        key: The environment variable that holds its key, or several of them.
        key_form: What a key looks like, for clients that look at theirs.
        group: The dependency group whose environment has it.
        settings: Other environment variables that its users set.
        says: What each way comes to.
        fails: The ways that do not work, with the reason for the documentation.
        own_sockets: The ways that connect over sockets of the client's own: there a miss is told as an answer of the
            provider, and fails the test as well.
        whole: The ways whose streams the client itself hands on when they are whole, with Aquila or without.
        unscripted: Why a script answers none of its ways, if it does not.
        remarks: What the documentation says besides.
        broken_since: The Python since which it fails by itself, without Aquila too.
    """

    name: str
    application: str
    distributions: tuple[str, ...]
    hosts: tuple[str, ...] = ("api.openai.com",)
    key: tuple[str, ...] = ("OPENAI_API_KEY",)
    key_form: str = "{}"
    group: str = "wild"
    settings: Mapping[str, str] = field(default_factory=dict)
    says: str = TEXT
    fails: Mapping[str, str] = field(default_factory=dict)
    own_sockets: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    unscripted: str = ""
    remarks: str = ""
    broken_since: tuple[int, int] | None = None

    @property
    def source(self) -> str:
        """The application's text."""
        return (APPLICATIONS / f"{self.application}.py").read_text("utf-8")

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways that its application has."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        names = {node.name for node in ast.parse(self.source).body if isinstance(node, kinds)}
        return tuple(way for way in WAYS if way in names)


_AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_HUGGING_FACE = ("router.huggingface.co", "huggingface.co")

_NIQUESTS_ASYNC = dict.fromkeys(
    ("ask_async", "stream_async"),
    "its asynchronous connections verify the certificate themselves, so only `aquila serve` records it",
)

CLIENTS = (
    Client("openai, chat completions", "openai_chat", ("openai",)),
    Client("openai, Responses", "openai_responses", ("openai",)),
    Client("openai, embeddings", "openai_embeddings", ("openai",), says=str([0.5] * 4)),
    Client("openai 2", "openai_chat", ("openai",), group="wild-openai2"),
    Client("anthropic", "anthropic_messages", ("anthropic",), ("api.anthropic.com",), ("ANTHROPIC_API_KEY",)),
    Client("groq", "groq_chat", ("groq",), ("api.groq.com",), ("GROQ_API_KEY",)),
    Client("google-genai", "gemini", ("google-genai",), ("generativelanguage.googleapis.com",), ("GEMINI_API_KEY",)),
    Client("mistralai", "mistral", ("mistralai",), ("api.mistral.ai",), ("MISTRAL_API_KEY",)),
    Client(
        "cohere",
        "cohere_chat",
        ("cohere",),
        ("api.cohere.com",),
        ("CO_API_KEY",),
        unscripted="Cohere's form is not known",
    ),
    Client(
        "boto3, Bedrock",
        "bedrock",
        ("boto3",),
        ("bedrock-runtime.us-east-1.amazonaws.com",),
        _AWS,
        settings={"AWS_DEFAULT_REGION": "us-east-1"},
    ),
    Client(
        "boto3 on urllib3 1, Bedrock",
        "bedrock",
        ("boto3", "urllib3"),
        ("bedrock-runtime.us-east-1.amazonaws.com",),
        _AWS,
        group="wild-oldest",
        settings={"AWS_DEFAULT_REGION": "us-east-1"},
    ),
    Client("litellm, to OpenAI", "litellm_openai", ("litellm",)),
    Client("litellm, to Anthropic", "litellm_anthropic", ("litellm",), ("api.anthropic.com",), ("ANTHROPIC_API_KEY",)),
    Client("openai-agents", "openai_agents", ("openai-agents",)),
    Client(
        "instructor",
        "instructor_models",
        ("instructor",),
        group="wild-openai2",
        says="eagle",
        whole=("stream",),
        remarks="it hands on a synchronous stream only when it is complete, without Aquila too",
    ),
    Client("llama-index", "llama_index_chat", ("llama-index-llms-openai",), group="wild-openai2"),
    Client("langchain-openai, langgraph", "langchain_chat", ("langchain-openai", "langgraph")),
    Client(
        "pydantic-ai",
        "pydantic_agent",
        ("pydantic-ai-slim",),
        remarks="with Gemini it makes the ids of tool calls itself, anew in each run: set `aquila_normalize = hex`",
    ),
    Client("smolagents", "smol_agents", ("smolagents",)),
    Client("huggingface_hub", "hugging_face", ("huggingface_hub",), _HUGGING_FACE, ("HF_TOKEN",), key_form="hf_{}"),
    Client("ollama", "ollama_chat", ("ollama",), ("ollama.com",), ("OLLAMA_API_KEY",)),
    Client("httpx", "plain_httpx", ("httpx",)),
    Client("requests", "plain_requests", ("requests",)),
    Client("requests on urllib3 1", "plain_requests", ("requests", "urllib3"), group="wild-oldest"),
    Client("urllib3", "plain_urllib3", ("urllib3",)),
    Client("urllib3 1", "plain_urllib3", ("urllib3",), group="wild-oldest"),
    Client("aiohttp", "plain_aiohttp", ("aiohttp",)),
    Client(
        "aiohttp 3.8", "plain_aiohttp", ("aiohttp",), group="wild-oldest", own_sockets=("ask_async", "stream_async")
    ),
    Client(
        "niquests",
        "plain_niquests",
        ("niquests",),
        group="wild-openai2",
        fails=_NIQUESTS_ASYNC,
    ),
    Client("dspy", "dspy_programs", ("dspy",), group="wild-frameworks", own_sockets=("ask", "ask_async")),
    Client("haystack", "haystack_chat", ("haystack-ai",), group="wild-frameworks"),
    Client(  # It looks for arguments of `Union` itself, which Python 3.14 made a class.
        "semantic-kernel",
        "semantic_kernel_chat",
        ("semantic-kernel",),
        group="wild-frameworks",
        broken_since=(3, 14),
    ),
    Client(
        "tornado", "plain_tornado", ("tornado",), group="wild-frameworks", own_sockets=("ask_async", "stream_async")
    ),
)
