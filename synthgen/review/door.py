"""Who may speak to the page: this machine, this address, this browser.

A server on the loopback address is reachable by every page that the browser has open: by its address across origins
(CSRF), or by a name that is made to point here (DNS rebinding). So each request must name this very host, come from
our own origin, and carry a cookie that only the bearer of the one-time token was given.
"""

from __future__ import annotations

import secrets
from hmac import compare_digest
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'")
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Door:
    """ASGI middleware: refuses what does not belong here, before a route sees it.

    port: that the server listens on. token: the secret of the address that is printed; good once, and exchanged for a
    cookie that lives as long as the server.
    """

    def __init__(self, app: ASGIApp, port: int, token: str) -> None:
        self.app, self.token, self._used = app, token, False
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self.cookie = f"synthgen-review-{port}"  # cookies know no ports: two servers must not take each other's
        self.secret = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # nothing here speaks websockets; the server refuses the handshake

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = self._answer(scope)
        await (self.app if answer is None else answer)(scope, receive, guarded)

    def _answer(self, scope: Scope) -> Response | None:
        """The refusal, or the exchange of the token; None where the request may pass."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0] not in self.hosts:
            return PlainTextResponse("this server answers to its own address only", 421)
        safe = scope["method"] in ("GET", "HEAD")
        origins = headers.getlist("origin")
        if (origins or not safe) and origins != [f"http://{hosts[0]}"]:
            return PlainTextResponse("this request comes from another page", 403)
        site = headers.get("sec-fetch-site")
        if site not in (None, "same-origin") and not (site == "none" and safe):
            return PlainTextResponse("this request comes from another page", 403)
        if compare_digest(self._carried(headers), self.secret):
            return None
        query = parse_qs(scope["query_string"].decode("latin-1"))
        given = query.get("token", [""])[0]
        if scope["path"] == "/" and scope["method"] == "GET" and compare_digest(given.encode(), self.token.encode()):
            if self._used:
                return PlainTextResponse("this address was used; start `synthgen review` again for another", 403)
            self._used = True
            entered = RedirectResponse("/", 303)
            entered.set_cookie(self.cookie, self.secret, httponly=True, samesite="strict", path="/")
            return entered
        return PlainTextResponse("open the address that `synthgen review` printed", 401)

    def _carried(self, headers: Headers) -> str:
        found: SimpleCookie = SimpleCookie()
        try:
            found.load(headers.get("cookie", ""))
        except CookieError:
            return ""
        value = found.get(self.cookie)
        return "" if value is None or not value.value.isascii() else value.value
