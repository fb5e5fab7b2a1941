/** Base64, as a kubeconfig and Argo CD hold files. */

/** The UTF-8 of a text in base64 (RFC 4648, section 4). */
export function base64Of(text: string): string {
  return new TextEncoder().encode(text).toBase64();
}
