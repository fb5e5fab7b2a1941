/** Base64 (RFC 4648, section 4), as Kubernetes objects and kubeconfigs hold texts. */

/** A text as the base64 of its UTF-8. */
export function base64Of(text: string): string {
  return new TextEncoder().encode(text).toBase64();
}

/** The text that {@link base64Of} encoded. @throws {SyntaxError} for what is not base64 */
export function textOfBase64(base64: string): string {
  return new TextDecoder().decode(Uint8Array.fromBase64(base64));
}
