/** A response of a target that knows itself by another host than its callers do. */
import { type Field, field, getField } from "../../http1/head.ts";
import type { Exchange } from "../../net/exchange.ts";

/** The fields with the public host where the target has written its own. */
export function withPublicHost(fields: Field[], targetHost: string, exchange: Exchange): Field[] {
  const publicHost = getField(exchange.head.fields, "host");
  if (!publicHost) return fields;
  return fields.map((item) => {
    if (item.key === "location" || item.key === "content-location") {
      return field(item.name, publicUrl(item.value, targetHost, publicHost, exchange));
    }
    if (item.key === "set-cookie") {
      return field(item.name, publicCookie(item.value, targetHost, publicHost));
    }
    return item;
  });
}

/** A URL with or without a scheme; paths and other hosts stay. */
function publicUrl(
  url: string,
  targetHost: string,
  publicHost: string,
  { peer }: Exchange,
): string {
  const match = /^(https?:)?\/\/([^/?#]*)(.*)$/is.exec(url);
  if (!match) return url;
  const [, scheme, authority = "", rest = ""] = match;
  if (!isSameHost(authority, targetHost)) return url;
  const publicScheme = scheme === undefined ? "" : peer.isTls ? "https:" : "http:";
  return `${publicScheme}//${publicHost}${rest}`;
}

/** A default port may be there or not. */
function isSameHost(authority: string, targetHost: string): boolean {
  const bare = (host: string) => host.toLowerCase().replace(/:(?:80|443)$/, "");
  return bare(authority) === bare(targetHost);
}

/** The attribute `Domain`, where it is the target's own name; browsers would drop the cookie. */
function publicCookie(cookie: string, targetHost: string, publicHost: string): string {
  const own = withoutPort(targetHost);
  return cookie.replace(
    /;(\s*)domain\s*=\s*"?\.?([^;"]*)"?/gi,
    (whole, space: string, domain: string) =>
      domain.trim().toLowerCase() === own ? `;${space}Domain=${withoutPort(publicHost)}` : whole,
  );
}

function withoutPort(host: string): string {
  return host.toLowerCase().replace(/:\d*$/, "");
}
