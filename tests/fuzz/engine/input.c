/* An input is taken from its front; when it has run out there are zeros. */
#include "fuzz.h"

uint8_t input_byte(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->next++;
}

uint16_t input_word(struct input *input)
{
    uint8_t high = input_byte(input);
    return (uint16_t)(high << 8 | input_byte(input));
}

const uint8_t *input_bytes(struct input *input, size_t most, size_t *size)
{
    const uint8_t *bytes = input->next;
    *size = most < input->left ? most : input->left;
    input->next += *size;
    input->left -= *size;
    return bytes;
}
