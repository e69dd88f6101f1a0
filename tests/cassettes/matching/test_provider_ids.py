"""Which ids a request names for its provider to look up, and which an answer gives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.matching.provider_ids import PROTOCOLS, ids_given_by, ids_named_by, values_in
from aquila.cassettes.model import Headers, Interaction, RecordedChunk, RecordedRequest, RecordedResponse

URL = "https://provider.example/v1/responses"


def request(body: Any = None, url: str = URL, headers: Headers = ()) -> RecordedRequest:
    return RecordedRequest("POST", url, headers, json.dumps(body).encode() if body is not None else b"")


def answer(body: Any = b"", headers: Headers = ()) -> Interaction:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Interaction(request(), RecordedResponse(200, headers, (RecordedChunk(data),)))


NAMED = [
    ({"previous_response_id": "X"}, "previous_response_id"),
    ({"conversation": "X"}, "conversation"),
    ({"conversation": {"id": "X"}}, "conversation.id"),
    ({"input": [{"type": "item_reference", "id": "X"}]}, "input[0].id"),
    ({"input": [{"id": "X"}]}, "input[0].id"),
    ({"input": [{"id": "X", "type": None}]}, "input[0].id"),
    ({"input": [{"type": "reasoning", "id": "X", "summary": []}]}, "input[0].id"),
    ({"input": [{"type": "reasoning", "id": "X", "summary": [], "encrypted_content": None}]}, "input[0].id"),
    ({"input": [{"type": "image_generation_call", "id": "X"}]}, "input[0].id"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "X"}]}]}, "input[0].content[0].file_id"),
    ({"tools": [{"type": "file_search", "vector_store_ids": ["X"]}]}, "tools[0].vector_store_ids"),
    ({"tools": [{"type": "code_interpreter", "container": "X"}]}, "tools[0].container"),
    ({"tools": [{"type": "code_interpreter", "container": {"file_ids": ["X"]}}]}, "tools[0].container.file_ids"),
    ({"messages": [{"role": "assistant", "audio": {"id": "X"}}]}, "messages[0].audio.id"),
    ({"input_file_id": "X", "endpoint": "/v1/responses"}, "input_file_id"),
    ({"training_file": "X"}, "training_file"),
    ({"assistant_id": "X"}, "assistant_id"),
    ({"container": "X", "messages": []}, "container"),
    (
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "X"}}]}]},
        "messages[0].content[0].source.file_id",
    ),
    (
        {"messages": [{"content": [{"type": "tool_result", "content": [{"source": {"file_id": "X"}}]}]}]},
        "messages[0].content[0].content[0].source.file_id",
    ),
    ({"cachedContent": "cachedContents/X"}, "cachedContent"),
    (
        {"contents": [{"parts": [{"fileData": {"fileUri": "https://provider.example/v1beta/files/X"}}]}]},
        "contents[0].parts[0].fileData.fileUri",
    ),
    ({"audio_url": "X"}, "audio_url"),
]


@pytest.mark.parametrize(("body", "where"), NAMED)
def test_an_id_that_a_provider_looks_up_is_found_with_its_place(body: Any, where: str) -> None:
    named = ids_named_by(request(body))
    assert [name for value, name in named.items() if value.endswith("X")] == [where]


PAIRED_WITHIN_THE_REQUEST = [
    {"messages": [{"role": "assistant", "tool_calls": [{"id": "X"}]}, {"role": "tool", "tool_call_id": "X"}]},
    {"input": [{"type": "function_call_output", "call_id": "X", "output": "a bird"}]},
    {"input": [{"type": "function_call", "id": "X", "call_id": "X", "name": "look_up", "arguments": "{}"}]},
    {"input": [{"type": "message", "id": "X", "role": "assistant", "content": []}]},
    {"input": [{"type": "reasoning", "id": "X", "summary": [], "encrypted_content": "gAAA"}]},
    {"input": [{"type": "mcp_approval_response", "approval_request_id": "X", "approve": True}]},
    {"messages": [{"content": [{"type": "tool_use", "id": "X", "input": {"file_id": "X"}}]}]},
    {"messages": [{"content": [{"type": "tool_result", "tool_use_id": "X", "content": "a bird"}]}]},
    {"messages": [{"content": [{"type": "code_execution_tool_result", "content": [{"file_id": "X"}]}]}]},
    {"contents": [{"parts": [{"functionCall": {"name": "f", "args": {"file_id": "X"}, "id": "X"}}]}]},
    {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {"file_id": "X"}, "id": "X"}}]}]},
    {"metadata": {"conversation": "X"}},
    {"input": [{"type": "message", "content": [{"text": "…", "annotations": [{"file_id": "X"}]}]}]},
    {"model": "X", "user": "X", "prompt_cache_key": "X", "safety_identifier": "X"},
    {"jsonrpc": "2.0", "id": "X", "method": "tools/call", "params": {"arguments": {"thread_id": "X"}}},
]


@pytest.mark.parametrize("body", PAIRED_WITHIN_THE_REQUEST)
def test_an_id_that_is_paired_within_the_request_is_not_looked_up(body: Any) -> None:
    assert "X" not in ids_named_by(request(body))


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("https://provider.example/v1/files/file-1/content", "the path"),
        ("https://provider.example/v1/threads/thread_1/runs/file-1/submit_tool_outputs", "the path"),
        ("https://provider.example/v1beta/cachedContents/file-1", "the path"),
        ("https://provider.example/v1beta/batches/file-1:cancel", "the path"),
        ("https://provider.example/v1/files?after=file-1", "query after"),
        ("https://provider.example/upload/v1beta/files?upload_id=file-1&upload_protocol=resumable", "query upload_id"),
    ],
)
def test_an_id_in_a_url_is_always_looked_up(url: str, where: str) -> None:
    assert ids_named_by(request(url=url))["file-1"] == where


def test_a_number_in_a_query_is_no_id() -> None:
    assert "20" not in ids_named_by(request(url="https://provider.example/v1/files?limit=20"))


def test_the_name_of_a_model_in_a_path_is_no_id() -> None:
    url = "https://provider.example/v1beta/models/gemini-9:generateContent"
    assert "gemini-9" not in ids_named_by(request(url=url))


def test_a_session_of_mcp_is_named_by_a_header() -> None:
    assert ids_named_by(request(headers=(("mcp-session-id", "s-1"),)))["s-1"] == "header mcp-session-id"


@pytest.mark.parametrize(
    ("body", "headers", "given"),
    [
        ({"id": "resp_1", "output": [{"id": "rs_1"}], "model": "m"}, (), {"resp_1", "rs_1"}),
        ({"name": "cachedContents/abc", "model": "models/m"}, (), {"cachedContents/abc", "abc"}),
        (
            {"file": {"name": "files/abc", "uri": "https://x.example/files/abc"}},
            (),
            {"https://x.example/files/abc", "files/abc", "abc"},
        ),
        ({"data": [{"id": "file-1"}], "last_id": "file-2", "has_more": True}, (), {"file-1", "file-2"}),
        ({"data": [{"id": "gpt-9", "object": "model"}]}, (), set()),
        ({"id": 17}, (), {"17"}),
        ({}, (("mcp-session-id", "s-1"),), {"s-1"}),
        (
            {},
            (("x-goog-upload-url", "https://x.example/upload/files?upload_id=u-1"),),
            {"https://x.example/upload/files?upload_id=u-1", "files", "u-1"},
        ),
        (
            {},
            (("operation-location", "https://x.example/operations/o-1?api-version=1"),),
            {"https://x.example/operations/o-1?api-version=1", "o-1", "1"},
        ),
        (b'event: response.created\ndata: {"response": {"id": "resp_1"}}\n\ndata: [DONE]\n\n', (), {"resp_1"}),
        (b'{"id": "a-1"}\n{"id": "a-2"}\n', (), {"a-1", "a-2"}),
        (b"<html>", (), set()),
        (b"{", (), set()),
        (b"", (), set()),
    ],
)
def test_an_answer_gives_the_ids_in_its_fields_and_headers(body: Any, headers: Headers, given: set[str]) -> None:
    assert ids_given_by(answer(body, headers)) == given


def test_every_field_of_the_table_is_found_at_any_depth() -> None:
    names = [name for protocol in PROTOCOLS for name in protocol.fields]
    assert len(names) > 20
    for name in names:
        assert ids_named_by(request({"a": [{"b": {name: "X"}}]}))["X"] == f"a[0].b.{name}"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "type", "a", "input"]), inner),
    max_leaves=20,
)


@given(JSON)
def test_any_json_can_be_looked_into_and_what_it_names_is_in_it(body: Any) -> None:
    named = ids_named_by(request(body))
    assert set(named) <= values_in(request(body))
    ids_given_by(answer(body))


@given(st.binary())
def test_any_bytes_can_be_looked_into(body: bytes) -> None:
    sent = RecordedRequest("POST", URL, (), body)
    ids_named_by(sent), values_in(sent), ids_given_by(answer(body))
