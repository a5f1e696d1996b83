# The image is usher and its licence, on nothing. hack/image builds the static
# binaries, gives them their file capability and runs this once for each
# architecture; nothing is compiled or downloaded here, so that the same commit
# makes the same image anywhere.
FROM scratch

ARG TARGETARCH
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="usher" \
      org.opencontainers.image.description="Publishes annotated Kubernetes hosts of several clusters at one edge, by TLS passthrough" \
      org.opencontainers.image.source="https://github.com/jovalle/usher" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

COPY LICENSE /LICENSE
COPY ${TARGETARCH}/usher /usher

# In numbers: there is no /etc/passwd, and runAsNonRoot can only judge a number.
USER 65532:65532
EXPOSE 80 443
ENTRYPOINT ["/usher"]
CMD ["run"]
