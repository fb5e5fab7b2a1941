/** A digest of a text, in hexadecimal. */
export type Digest = (text: string) => string;
