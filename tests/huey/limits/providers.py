"""A provider for tests of limits."""

import threading

import httpx2


class Provider(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Refuses requests with the answers that it is given, and then answers with 10 and 5 tokens."""

    def __init__(self, *refusals):
        self.refusals = list(refusals)
        self.headers = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        self.while_answering = lambda: None
        self.reports_usage = True

    @property
    def asked(self):
        return len(self.headers)

    def handle_request(self, request):
        with self._lock:
            self.headers.append(dict(request.headers))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.while_answering()
            return self._answer()
        finally:
            with self._lock:
                self.at_once -= 1

    def _answer(self):
        if self.refusals:
            status, headers = self.refusals.pop(0)
            return httpx2.Response(status, headers=headers, json={"error": {"message": "too much"}})
        choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
        answer = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        if self.reports_usage:
            answer["usage"] = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        return httpx2.Response(200, json=answer)

    async def handle_async_request(self, request):
        return self.handle_request(request)
