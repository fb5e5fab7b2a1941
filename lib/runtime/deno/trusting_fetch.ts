/** `fetch` that trusts the certificates of certain CAs. */

/** @param ca in PEM; undefined trusts public CAs */
export function trustingFetch(ca: string | undefined): typeof fetch {
  if (ca === undefined) return fetch;
  const client = Deno.createHttpClient({ caCerts: [ca] });
  return (input, init) => fetch(input, { ...init, client });
}
