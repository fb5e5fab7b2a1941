/**
 * Header fields with which proxies tell a server whom a request comes from and how it was asked for.
 * Frameworks, access logs and allow lists believe them, so the relay drops the whole family from what
 * callers send and sets its own. Names are compared folded, see `folded_name.ts`.
 */

/** Families that grow with every proxy that is written: all names with these beginnings. */
const prefixes: readonly string[] = [
  // For, Proto, Host, Port, Prefix, Server, Scheme, Ssl, Client-Cert, Uri, Method, and the identity
  // fields of authenticating proxies: User, Email, Groups, Preferred-Username, Access-Token.
  "x-forwarded-",
  // Original-Forwarded-For, -Host, -Proto, -URL and -Method of ingress-nginx, IIS and Envoy; frameworks
  // such as Symfony route by the last ones.
  "x-original-",
  // External-Address, Internal and Original-Path: Envoy trusts them between its own proxies.
  "x-envoy-",
  // User, Group, Uid and Extra-…: what an authenticating proxy tells Kubernetes' API servers.
  "x-remote-",
  // Who somebody is, as oauth2-proxy, Grafana's and Authelia's proxies, authentik, Pomerium and
  // Tailscale tell applications.
  ...["x-auth-request-", "x-webauth-", "remote-", "x-authentik-", "x-pomerium-"],
  "tailscale-user-",
  // Cloudflare Access: its JWT, and the secret of a service token.
  "cf-access-",
  // The relay's own, for agents, applications and other relays.
  "culvert-",
];

/** Single names, each with who reads or writes it. */
const names: ReadonlySet<string> = new Set([
  // RFC 7239.
  "forwarded",
  // Misspellings and short forms that libraries for client addresses look up.
  ...["forwarded-for", "forwarded-for-ip", "forwarded-proto", "x-forwarded", "x-forward-for"],
  // nginx's realip module, HAProxy and most web frameworks.
  ...["x-real-ip", "real-ip"],
  // Apache's mod_remoteip, AWS, Rackspace and Riverbed; Rails reads `Client-IP`.
  ...["client-ip", "x-client-ip", "x-cluster-client-ip"],
  // Akamai and Cloudflare's Enterprise plan.
  "true-client-ip",
  // Cloudflare: the caller's address, the one that stands for an IPv6 one, its scheme, its country.
  ...["cf-connecting-ip", "cf-connecting-ipv6", "cf-pseudo-ipv4", "cf-visitor", "cf-ipcountry"],
  // Cloudflare: a Worker's request, and one that has been on its way already.
  ...["cf-worker", "cf-connecting-o2o"],
  // Fastly, Fly.io, DigitalOcean, Netlify, Google App Engine, Azure Front Door.
  ...["fastly-client-ip", "fastly-ssl", "fly-client-ip", "do-connecting-ip"],
  ...["x-nf-client-connection-ip", "x-appengine-user-ip", "x-appengine-remote-addr"],
  ...["x-azure-clientip", "x-azure-socketip", "x-azure-fdid"],
  // Incapsula, Sucuri, Google's data saver, Alibaba's and Wangsu's CDN.
  ...["incap-client-ip", "x-sucuri-clientip", "x-proxyuser-ip", "ali-cdn-real-ip"],
  ...["cdn-src-ip", "cdn-real-ip"],
  // WebLogic's plug-in and the servlet code that copies it.
  ...["proxy-client-ip", "wl-proxy-client-ip", "wl-proxy-ssl", "http-client-ip"],
  ...["http-x-forwarded-for", "x-originating-ip"],
  // Who somebody is, as Teleport tells applications.
  "teleport-jwt-assertion",
  // The scheme: nginx, Rack, and IIS behind Microsoft's gateways.
  ...["x-scheme", "x-url-scheme", "front-end-https", "x-arr-ssl"],
  // The host and the path that frameworks take for the asked ones: Zend, Symfony, IIS.
  ...["x-host", "x-http-host-override", "x-rewrite-url"],
  // SCRIPT_NAME, the path below which an application stands: gunicorn.
  ...["script-name", "path-info"],
]);

/** Whether a name, folded, is the relay's to set or to drop. */
export function isForwardingField(folded: string): boolean {
  if (names.has(folded)) return true;
  return prefixes.some((prefix) => folded.startsWith(prefix));
}
