/** Whether Deno's TLS can load CA certificates. */

/**
 * Loads CA certificates as a client's, and lets them go again.
 *
 * @throws {Error} with the runtime's words when one of them can't be loaded
 */
export function loadCa(pem: string): void {
  Deno.createHttpClient({ caCerts: [pem] }).close();
}
