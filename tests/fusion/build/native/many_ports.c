/* A program with twelve inputs and outputs, names that JSON must escape, and outputs that are not finite: output i holds
   input i's first number, then infinity, minus infinity and what is not a number. */
#include "program.h"
#include <math.h>

#define PORTS 12
#define INPUT(i, name) {name, 2, 1, 1, 100, 64L * i}
#define OUTPUT(i, name) {name, 1, 4, 4, 0, 64L * (PORTS + i)}

static void copy(const pb_operands *o, int tile) {
  const float values[] = {(float)((const int *)o->inputs[0])[16 * tile], INFINITY, -INFINITY, NAN};
  for (int i = 0; i < 4; i++) o->output[16 * tile + i] = tile ? values[0] : values[i];
}

static const pb_step steps[] = {{"ste\"p", copy, PORTS, 1, {0}, 64L * PORTS, 0, 0}};
static const pb_port inputs[] = {
    INPUT(0, "in\"put\\0"), INPUT(1, "in=1"), INPUT(2, "in\n2"), INPUT(3, "in3"),  INPUT(4, "in4"),   INPUT(5, "in5"),
    INPUT(6, "in6"),        INPUT(7, "in7"),  INPUT(8, "in8"),   INPUT(9, "in9"), INPUT(10, "in10"), INPUT(11, "in11")};
static const pb_port outputs[] = {
    OUTPUT(0, "out\"put\\0"), OUTPUT(1, "out\t1"), OUTPUT(2, "\xc3\xb6ut"), OUTPUT(3, "o3"), OUTPUT(4, "o4"),
    OUTPUT(5, "o5"),          OUTPUT(6, "o6"),     OUTPUT(7, "o7"),         OUTPUT(8, "o8"), OUTPUT(9, "o9"),
    OUTPUT(10, "o10"),        OUTPUT(11, "o11")};
const pb_program pb_programs[] = {{"many\"", "id", steps, 1, inputs, PORTS, outputs, PORTS, 128L * PORTS, 64, 0, 0}};
const int pb_program_count = 1;
