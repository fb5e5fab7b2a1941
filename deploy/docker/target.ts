/** The sample target of `compose.yaml`: answers every request with what it got. */
Deno.serve({ port: 3000 }, (request) => {
  const { method, url, headers } = request;
  const { pathname, search } = new URL(url);
  return Response.json({ method, path: pathname + search, headers: Object.fromEntries(headers) });
});
