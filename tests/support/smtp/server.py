"""A mail server for one test: aiosmtpd on a free port of 127.0.0.1.

Its only argument is JSON. The first line it writes is its port; then each mail that it takes is a line of JSON. It ends when its
standard input does, which is when the test has, however that ended.
"""

import asyncio
import base64
import json
import os
import ssl
import sys
import threading

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

options = json.loads(sys.argv[1])


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        answer = options["answers"].get(address)
        if answer:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "bytes": base64.b64encode(envelope.original_content).decode(),
            "encrypted": session.ssl is not None or options["tls"] == "implicit",
            "user": session.auth_data.login.decode() if session.auth_data else None,
            "peer": session.peer[1],
        }
        print(json.dumps(mail), flush=True)
        return "250 2.0.0 queued as 4711"


def authenticate(server, session, envelope, mechanism, data):
    good = (
        isinstance(data, LoginPassword)
        and data.login.decode() == options["user"]
        and data.password.decode() == options["password"]
    )
    return AuthResult(success=good, handled=False, auth_data=data if good else None)


def tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options["certificate"], options["key"])
    return context


def smtp():
    wants_login = options["user"] is not None
    return SMTP(
        Handler(),
        hostname="mail.test",
        enable_SMTPUTF8=True,
        tls_context=tls() if options["tls"] == "starttls" else None,
        require_starttls=options["tls"] == "starttls",
        authenticator=authenticate if wants_login else None,
        auth_required=wants_login,
        auth_require_tls=False,
    )


async def main():
    encryption = tls() if options["tls"] == "implicit" else None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(smtp, "127.0.0.1", options["port"], ssl=encryption)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def watch():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=watch, daemon=True).start()
asyncio.run(main())
