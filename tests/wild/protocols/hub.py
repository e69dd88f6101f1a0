"""The Hugging Face hub, as far as its inference client asks it: which provider serves a model."""

from __future__ import annotations

from tests.support.upstream import Answer
from tests.wild.protocols.conversation import Asked, whole


def answer(asked: Asked) -> Answer:
    model = asked.path.partition("?")[0].removeprefix("/api/models/")
    served = {"provider": "hf-inference", "providerId": model, "status": "live", "task": "conversational"}
    mapping = {"hf-inference": served}
    return whole({"id": model, "modelId": model, "inference": "warm", "inferenceProviderMapping": mapping})
