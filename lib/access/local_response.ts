/** What a local browser gets of a response of the service, which knows itself by its own origin. */
import { type Field, field } from "../http1/head.ts";

/** The service, and where the browser has asked for it. */
export interface LocalOrigin {
  /** `https://HOST[:PORT]` of the service. */
  readonly service: URL;
  /** `HOST:PORT` of the local port. */
  readonly local: string;
}

/** The field as it has to be for the local origin. */
export function localField(item: Field, origin: LocalOrigin): Field {
  const { key, name, value } = item;
  if (key === "location" || key === "content-location") {
    return field(name, localUrl(value, origin));
  }
  return key === "set-cookie" ? field(name, localCookie(value, origin)) : item;
}

/** A redirect within the service stays on the local port; paths and other origins stay as they are. */
function localUrl(url: string, { service, local }: LocalOrigin): string {
  const match = /^(?:https?:)?\/\/[^/?#\\]*/i.exec(url);
  const named = match && URL.parse(match[0], service);
  return named?.origin === service.origin ? `http://${local}${url.slice(match![0].length)}` : url;
}

/**
 * Without a domain that is the service's own: browsers would drop the cookie. One of another domain they
 * drop at the service, too.
 */
function localCookie(cookie: string, { service }: LocalOrigin): string {
  return cookie.replace(/;\s*domain\s*=\s*"?\.?([^;"]*)"?\s*(?=;|$)/gi, (whole, domain: string) => {
    const name = domain.trim().toLowerCase();
    return isWithin(service.hostname, name) ? "" : whole;
  });
}

/** Whether a host has a domain, or is below it. */
function isWithin(host: string, domain: string): boolean {
  return domain === "" || host === domain || host.endsWith(`.${domain}`);
}
