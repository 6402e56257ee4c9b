"""The browser that the page is tested in: which one, how it is started, what a page did in it."""

import shutil

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


def listen(tab):
    heard = []
    tab.on("console", lambda message: heard.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: heard.append(f"error: {error}"))
    tab.on("dialog", lambda box: (heard.append(f"dialog: {box.message}"), box.dismiss()))
    tab.on("request", lambda request: heard.append(f"request: {request.url}"))
    tab.add_init_script(
        "addEventListener('securitypolicyviolation', event =>"
        " console.error('violation of ' + event.effectiveDirective))"
    )
    return heard
