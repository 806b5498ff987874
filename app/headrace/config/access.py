"""Who may send, and whether the way is encrypted: TLS and API keys."""

from pydantic import BaseModel, Field, model_validator

from headrace.config.values import File


class Access(BaseModel):
    """TLS and API keys."""

    tls_cert: File = Field(
        None,
        description="PEM file of the server's certificate and its chain. With it both servers, HTTP and gRPC, speak "
        "TLS. Read again when it changes. Needs `HEADRACE_TLS_KEY`.",
    )
    tls_key: File = Field(None, description="PEM file of the certificate's private key.")
    tls_client_ca: File = Field(
        None, description="PEM file of the authorities whose certificates clients must show (mutual TLS)."
    )
    api_keys: File = Field(
        None,
        description="File of hashed API keys; `headrace keys` writes it. If it is set, a request without a good key "
        "is answered 401.",
    )

    @model_validator(mode="after")
    def _tls_is_whole(self) -> "Access":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("HEADRACE_TLS_CERT and HEADRACE_TLS_KEY belong together: set both or neither")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("HEADRACE_TLS_CLIENT_CA needs HEADRACE_TLS_CERT and HEADRACE_TLS_KEY")
        return self

    @property
    def knows_clients(self) -> bool:
        """Whether clients are asked for a key or a certificate."""
        return self.api_keys is not None or self.tls_client_ca is not None
