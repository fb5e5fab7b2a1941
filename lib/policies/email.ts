/** E-mail addresses, as far as rules about their domains go. */

/** Anything with quotes, comments, spaces or a second `@` can be read in two ways. */
const address = /^[\w.!#$%&'*+/=?^`{|}~-]+@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)$/;

/**
 * The domain of an e-mail address in lower case, or nothing for anything that is not plainly one: the
 * part of an address that another program takes for its domain must not be another.
 */
export function domainOf(email: unknown): string | undefined {
  if (typeof email !== "string" || email.length > 254) return undefined;
  // The pattern admits ASCII alone, since other letters exist whose lower case is an ASCII letter.
  return address.exec(email)?.[1]?.toLowerCase();
}
