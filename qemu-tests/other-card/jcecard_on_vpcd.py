"""A second PIV card that nobody of us wrote, jcecard from PyPI, in the second reader of a `virtual-card host`.

Usage: jcecard_on_vpcd.py CONTROL PORT
CONTROL is the socket of the first card, which is taken out; a line says when it is. vpcd: a length (u16, big-endian) and that many bytes;
one byte is an order, more are an APDU. The card needs jcecard 0.1.0 and keeps nothing.
"""

import logging
import socket
import struct
import sys

from jcecard.main import OpenPGPCard

OFF, ON, RESET, GET_ATR = b"\x00", b"\x01", b"\x02", b"\x04"


def take_out_the_first(control):
    with socket.socket(socket.AF_UNIX) as orders:
        orders.connect(control)
        orders.sendall(b"remove\n")
        assert orders.recv(16) == b"ok\n"


def read(link, length):
    data = b""
    while len(data) < length:
        more = link.recv(length - len(data))
        if not more:
            sys.exit(0)
        data += more
    return data


def main(control, port):
    logging.disable(logging.CRITICAL)  # its log lines hold PINs
    card = OpenPGPCard()
    take_out_the_first(control)
    print("out", flush=True)
    link = socket.create_connection(("127.0.0.1", int(port)))
    while True:
        (length,) = struct.unpack(">H", read(link, 2))
        body = read(link, length)
        if body == OFF:
            card.power_off()
        elif body == ON:
            card.power_on()
        elif body == RESET:
            card.reset()
        else:
            answer = card.get_atr() if body == GET_ATR else card.process_apdu(body)
            link.sendall(struct.pack(">H", len(answer)) + answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
