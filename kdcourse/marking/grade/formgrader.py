"""What formgrader gives to a marker's browser of a student's work: the rendered page, and nothing else.

formgrader would also serve any file that lies in the course folder, as what it is: a page among them would act with the
rights of the marker. Its configuration is read in the server's own process, where this changes it.
"""

import sys

HANDLERS = "nbgrader.server_extensions.formgrader.handlers"
MATHJAX = "https://cdnjs.cloudflare.com"  # where nbconvert's pages take it from
POLICY = (
    "default-src 'none'", f"script-src 'self' 'unsafe-inline' 'unsafe-eval' {MATHJAX}",
    f"style-src 'self' 'unsafe-inline' {MATHJAX}", f"font-src 'self' data: {MATHJAX}", "img-src data:",
    "connect-src 'self' https://api.cdnjs.com", "base-uri 'none'", "form-action 'none'",
)  # fmt: skip
# an answer stays where it stands: nothing in it lies over the controls, wherever it would be put
KEPT_IN = ".text_cell_render, .input_area, .output_area { contain: layout paint; overflow: auto; position: relative }"


def confine() -> None:
    """Where this process is formgrader's: serve no file of a submission, and let its page fetch only what is its own.

    Does nothing in any other process, and nothing more the second time.
    """
    handlers = sys.modules.get(HANDLERS)
    if handlers is None:
        return
    from tornado import web

    whole = handlers.BaseHandler

    def policy(self) -> str:
        return "; ".join([whole.content_security_policy.fget(self), *POLICY])

    def headers(self) -> None:
        whole.set_default_headers(self)
        self.set_header("X-DNS-Prefetch-Control", "off")  # a link tells nobody that it was seen

    def write(self, chunk) -> None:
        page = isinstance(chunk, str)
        whole.write(self, chunk.replace("</head>", f"<style>{KEPT_IN}</style></head>", 1) if page else chunk)

    def nothing(self, *path):
        raise web.HTTPError(404)

    handlers.SubmissionHandler.content_security_policy = property(policy)
    handlers.SubmissionHandler.set_default_headers, handlers.SubmissionHandler.write = headers, write
    handlers.SubmissionFilesHandler.get = handlers.SubmissionFilesHandler.head = web.authenticated(nothing)
